"""Entities of BIO tags, and the scores of the CoNLL shared tasks (Tjong Kim Sang and De Meulder, 2003)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from numformer._notices import amount
from numformer.errors import InputError
from numformer.metrics.pairs import check_pairs


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the entities (type, start, end) of a BIO sequence: the tokens of each are `tokens[start:end]`.

    An I- that continues no entity of its type begins one, as in conlleval. A tag without a type has the type "_".
    """
    found: list[tuple[str, int, int]] = []
    open_type: str | None = None
    start = 0
    for i, tag in enumerate([*tags, "O"]):
        type_ = (tag[2:] or "_") if tag[:1] in ("B", "I") else None
        if tag[:1] == "I" and type_ == open_type:
            continue
        if open_type is not None:
            found.append((open_type, start, i))
        open_type, start = type_, i
    return found


def entity_scores(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return precision, recall and F1 over all entities, and under "types" those and the support of each type.

    An entity counts when its type and both ends are right; a share of nothing is 0. Scored by seqeval in its default
    mode. Raises InputError when sequences or their lengths differ, and when seqeval is not installed.
    """
    check_pairs(predicted, gold, "gold sequences")
    for number, (p, g) in enumerate(zip(predicted, gold, strict=True), 1):
        if len(p) != len(g):
            raise InputError(
                f"sequence {number} has {amount(len(p), 'predicted tags')} for {amount(len(g), 'gold tags')}"
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval's, about shares of nothing and tags without B- or I-
        try:
            from seqeval.metrics import classification_report
        except ImportError as error:
            raise InputError("scoring entities needs the package seqeval: pip install 'numformer[scores]'") from error
        report = classification_report([list(g) for g in gold], [list(p) for p in predicted], output_dict=True)
    types = {name: _plain(row) for name, row in report.items() if not name.endswith(" avg")}
    overall = _plain(report["micro avg"])
    del overall["support"]
    return {**overall, "types": types}


def _plain(row: dict[str, Any]) -> dict[str, float]:
    names = {"precision": "precision", "recall": "recall", "f1-score": "f1", "support": "support"}
    return {ours: row[theirs].item() for theirs, ours in names.items()}
