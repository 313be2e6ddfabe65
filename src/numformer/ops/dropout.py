"""Dropout and its random bits."""

from __future__ import annotations

import numpy as np

from numformer import random
from numformer.autograd import Result, op
from numformer.autograd.blocks import blocks
from numformer.errors import InputError
from numformer.ops.arithmetic import as_float

LEVELS = 1 << 16  # a probability is rounded to a multiple of 1/65536: one 16-bit word decides each element


@op
def dropout(x: np.ndarray, *, p: float, key: tuple[int, ...]) -> Result:
    """Zero each element with probability p and divide the others by 1 - p (Srivastava et al. 2014).

    x [...] -> [...] with p=0.4, key=(7,)

    The same key drops the same elements.
    """
    x = as_float(x)
    keep, scale = keep_mask(x.shape, p, key)
    return _masked(x, keep, scale), lambda dy: _masked(dy, keep, scale)  # what was dropped gets none, the rest `scale`


def keep_mask(shape: tuple[int, ...], p: float, key: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """Return which elements stay, and what they are multiplied by so that the expected value is unchanged."""
    kept = levels_kept(p)
    count = int(np.prod(shape))
    words = random.generator(*key).integers(0, 2**64 - 1, -(-count // 4), dtype=np.uint64, endpoint=True)
    keep = np.less_equal(words.view(np.uint16)[:count], kept - 1)
    return keep.reshape(shape), LEVELS / kept


def levels_kept(p: float) -> int:
    """Return how many of the LEVELS of a random word let an element stay; raises InputError for no probability below 1."""
    if not 0.0 <= p < 1.0:
        raise InputError(f"the dropout probability must be at least 0 and below 1, got {p}")
    return max(1, LEVELS - round(p * LEVELS))


def _masked(x: np.ndarray, keep: np.ndarray, scale: float) -> np.ndarray:
    y = np.empty(x.shape, x.dtype)
    flat_x, flat_keep, flat_y = x.reshape(-1), keep.reshape(-1), y.reshape(-1)
    for part in blocks(x.size):
        np.multiply(flat_x[part], flat_keep[part], out=flat_y[part])
        flat_y[part] *= scale
    return y
