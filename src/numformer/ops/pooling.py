"""One vector for a whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from numformer.autograd import Gradients, Result, namespace_of, op
from numformer.errors import InputError
from numformer.ops.arithmetic import as_float


@op
def masked_mean(x: np.ndarray, mask: np.ndarray) -> Result:
    """Average the positions where the mask is True; a row without any gets zeros.

    x [B T D], mask [B T] bool -> [B D]
    """
    x = as_float(x)
    weights = mask.astype(x.dtype)[:, None, :]
    weights /= np.maximum(weights.sum(axis=-1, keepdims=True), 1.0)
    # The gradient of the mean goes to each of its positions, divided by their number, and to no other.
    return (weights @ x)[:, 0], lambda dy: (weights.swapaxes(1, 2) * dy[:, None, :], None)


def last_true(mask: Any) -> Any:
    """Return the last position [B] at which a mask [B T] of any kind of array is True; T - 1 in a row without any.

    Raises InputError when there are no positions.
    """
    xp, length = namespace_of(mask), mask.shape[1]
    if not length:
        raise InputError("last_true: the mask has no positions")
    return length - 1 - xp.argmax(xp.astype(xp.flip(mask, axis=1), xp.int32), axis=1)


@op
def take_position(x: np.ndarray, position: np.ndarray) -> Result:
    """Take one position of every sequence, such as its last real one.

    x [B T D], position [B] < T -> [B D]

    A negative position counts from the end, as in NumPy. Raises InputError for a position outside the sequence.
    """
    if position.size and not (-x.shape[1] <= position.min() and position.max() < x.shape[1]):
        raise InputError(
            f"take_position: positions run from {position.min()} to {position.max()}, "
            f"but there are {x.shape[1]} positions"
        )
    shape, dtype, at = x.shape, x.dtype, (np.arange(len(x)), position.copy())

    def vjp(dy: np.ndarray) -> Gradients:
        dx = np.zeros(shape, dtype)
        dx[at] = dy  # each sequence has one position taken
        return dx, None

    return x[at], vjp
