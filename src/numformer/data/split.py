"""Splitting examples so that what belongs together stays on one side."""

import unicodedata
from collections.abc import Hashable, Sequence

from numformer.errors import InputError
from numformer.random import generator


def split_by_group(groups: Sequence[Hashable], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices of a training and of a held-out part; examples i and j of one group lie on the same side.

    Groups are drawn in a random order and held out while they fit into `fraction` of the examples (rounded), so one
    that is larger than that is never held out; the held-out part may stay smaller, even empty, where no group fits
    any more. Both parts keep the order of the examples. Raises InputError when the fraction is not in 0..1 (1
    excluded), or when there are not two groups to put apart.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the held-out fraction must be at least 0 and less than 1, got {fraction}")
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if fraction > 0 and len(members) < 2:
        raise InputError(f"holding out a part needs at least 2 groups of examples, got {len(members)}")
    size = min(round(fraction * len(groups)), len(groups) - 1)
    candidates = list(members.values())
    held_out: set[int] = set()
    for draw in generator(seed).permutation(len(candidates)):
        if len(held_out) + len(candidates[draw]) <= size:
            held_out.update(candidates[draw])
    return [index for index in range(len(groups)) if index not in held_out], sorted(held_out)


def near_duplicate_groups(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Return for each pair the index of the first pair of its group: of those linked by shared sources or targets.

    Texts are the same here when they differ only in case, punctuation, spacing and Unicode form (NFKC): "Run!" and
    "run." are. Links form chains, so a group may hold pairs that share nothing directly.
    """
    parents = list(range(len(pairs)))
    letters = _Letters()
    for texts in zip(*pairs, strict=True):
        first_of_text: dict[str, int] = {}
        for index, text in enumerate(texts):
            earlier = first_of_text.setdefault(_spelling(text, letters), index)
            here, there = _root(parents, index), _root(parents, earlier)
            parents[max(here, there)] = min(here, there)
    return [_root(parents, index) for index in range(len(pairs))]


class _Letters(dict[int, int | None]):
    """A table for str.translate, filled as characters come, that deletes punctuation, spacing and invisible ones."""

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        self[code] = None if category[0] in "PZ" or category in ("Cc", "Cf") else code
        return self[code]


def _spelling(text: str, letters: _Letters) -> str:
    """Return what is compared of a text; one of punctuation alone, such as "?!", stands for itself."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return text.translate(letters) or text


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]  # halves the path for the next walk
        index = parents[index]
    return index
