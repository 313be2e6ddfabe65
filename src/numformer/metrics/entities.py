"""Entities of tags, and the scores of the CoNLL shared tasks (Tjong Kim Sang and De Meulder, 2003)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from numformer._notices import amount
from numformer.data.tagged.tag_schemes import split_tag
from numformer.errors import InputError
from numformer.metrics.pairs import check_pairs


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the entities (type, start, end) of a sequence of tags: the tokens of each are `tokens[start:end]`.

    BIO, IOB1, IO, IOBES, BILOU and BMES are read by one rule, as in conlleval: an inner or last tag that continues no entity
    of its type begins one, and an entity without its last tag ends where it does. A tag without a type has the type "entity".
    """
    found: list[tuple[str, int, int]] = []
    before, open_type, start = "O", "", 0
    for i, tag in enumerate([*tags, "O"]):
        letter, type_ = split_tag(tag)
        if not (letter in "IE" and before in "BI" and type_ == open_type):
            if before != "O":
                found.append((open_type, start, i))
            open_type, start = type_, i
        before = letter
    return found


def entity_scores(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return precision, recall and F1 over all entities, and under "types" those and the support of each type.

    An entity counts when its type and both ends are right; a share of nothing is 0. These are the figures of conlleval and
    of seqeval in its default mode. Raises InputError when sequences or their lengths differ.
    """
    check_pairs(predicted, gold, "gold sequences")
    found, wanted, right = Counter[str](), Counter[str](), Counter[str]()
    for number, (p, g) in enumerate(zip(predicted, gold, strict=True), 1):
        if len(p) != len(g):
            raise InputError(
                f"sequence {number} has {amount(len(p), 'predicted tags')} for {amount(len(g), 'gold tags')}"
            )
        ours, theirs = set(entities(p)), set(entities(g))
        for counts, group in ((found, ours), (wanted, theirs), (right, ours & theirs)):
            counts.update(type_ for type_, _, _ in group)
    types = {
        type_: _scores(right[type_], found[type_], wanted[type_]) | {"support": wanted[type_]}
        for type_ in sorted(found | wanted)
    }
    return {**_scores(right.total(), found.total(), wanted.total()), "types": types}


def _scores(right: int, found: int, wanted: int) -> dict[str, float]:
    return {
        "precision": right / (found or 1),
        "recall": right / (wanted or 1),
        "f1": 2 * right / (found + wanted or 1),
    }
