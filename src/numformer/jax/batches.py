"""Batches padded to few shapes: a step is compiled anew for every shape of its batch.

Lengths and numbers of sequences are rounded up to 8, 12, 16, 24, 32, 48, 64, …, which are 15 up to 1024; numbers below 8 to
1, 2 and 4 where they are of long sequences, which cost more than a compilation. What a batch is rounded to depends on it
alone, never on those before, so that a resumed run pads as one that went through, and draws the same masks of dropout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from numformer.ops.loss import IGNORE

SMALLEST, LONG = 8, 64  # of lengths, and of numbers of sequences that are not long; tokens of a sequence that is not


def padded(
    batch: Sequence[np.ndarray],
    fills: Sequence[int],
    *,
    longest: int | None = None,
    most: int | None = None,
    multiple: int = 1,
) -> tuple[np.ndarray, ...]:
    """Return a batch with more sequences and longer rows, none of which changes its loss.

    `fills` are what fills up the rows of each array, of the first ones at least; those without a fill keep their lengths.
    Rows get no longer than `longest`, sequences no more than `most` but for a `multiple`. New sequences repeat the last one,
    with targets that do not count. Ids come back as int32, which is what JAX has.
    """
    count = _rounded(len(batch[0]), most, 1 if batch[0].shape[1] > LONG else SMALLEST)
    rows = math.ceil(count / multiple) * multiple
    filled = [*fills[: len(batch)], *[None] * (len(batch) - len(fills))]
    *inputs, targets = [_lengthened(array, fill, longest) for array, fill in zip(batch, filled, strict=True)]
    missing = rows - len(targets)
    inputs = [_with_rows(array, missing, mode="edge") for array in inputs]
    # A number with a fraction that does not count is no number.
    ignored = np.nan if targets.dtype.kind == "f" else IGNORE
    return (*inputs, _with_rows(targets, missing, mode="constant", constant_values=ignored))


def _rounded(count: int, most: int | None, least: int = SMALLEST) -> int:
    """Return the smallest of 1, 2, 4, 8, 12, 16, 24, … that is not below count and `least`, or `most` if that is smaller."""
    power = 1 << (max(count, least) - 1).bit_length()
    rounded = power * 3 // 4 if power > 8 and count <= power * 3 // 4 else power
    return rounded if most is None else min(rounded, max(most, count))


def _lengthened(array: np.ndarray, fill: int | None, longest: int | None) -> np.ndarray:
    array = array.astype(np.int32) if array.dtype.kind == "i" else array
    if fill is None or array.ndim < 2:
        return array
    width = [(0, 0)] * array.ndim
    width[1] = (0, _rounded(array.shape[1], longest) - array.shape[1])
    return np.pad(array, width, constant_values=fill)


def _with_rows(array: np.ndarray, missing: int, **how: Any) -> np.ndarray:
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), **how) if missing else array


def stacked(batch: Sequence[np.ndarray], count: int) -> tuple[np.ndarray, ...]:
    """Return a batch [R ...] as one with an axis of pieces before, [count R/count ...], or as it is for one piece."""
    if count == 1:
        return tuple(batch)
    return tuple(array.reshape(count, len(array) // count, *array.shape[1:]) for array in batch)
