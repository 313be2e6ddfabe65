"""Reductions: what becomes of many elements one, over some axes or all."""

from __future__ import annotations

import builtins
from collections.abc import Callable

import numpy as np

from numformer.autograd import Result, op
from numformer.ops.arithmetic import as_float

Axis = int | tuple[int, ...] | None


@op
def sum(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Result:
    """Sum over `axis`, or over everything.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """
    shape = x.shape

    def vjp(dy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_restore_axes(dy, axis, keepdims), shape)  # every element counts once

    return x.sum(axis=axis, keepdims=keepdims), vjp


@op
def mean(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Result:
    """Average over `axis`, or over everything.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """
    y = as_float(x).mean(axis=axis, keepdims=keepdims)
    shape, count = x.shape, x.size / builtins.max(y.size, 1)

    def vjp(dy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_restore_axes(dy / count, axis, keepdims), shape)  # every element counts 1/count

    return y, vjp


@op
def max(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Result:
    """Largest element over `axis`, or of all; elements that are equally large share its gradient evenly.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """
    y = x.max(axis=axis, keepdims=keepdims)
    return y, _to_chosen(x, y, axis, keepdims)


@op
def min(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Result:
    """Smallest element over `axis`, or of all; elements that are equally small share its gradient evenly.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """
    y = x.min(axis=axis, keepdims=keepdims)
    return y, _to_chosen(x, y, axis, keepdims)


def _to_chosen(x: np.ndarray, y: np.ndarray, axis: Axis, keepdims: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return the pullback to the elements of x that were chosen, which y holds."""
    chosen = x == _restore_axes(y, axis, keepdims)
    count = chosen.sum(axis=axis, keepdims=True)

    def vjp(dy: np.ndarray) -> np.ndarray:
        return chosen * (
            _restore_axes(dy, axis, keepdims) / count.astype(dy.dtype)
        )  # the slope is 1, shared by `count`

    return vjp


def _restore_axes(dy: np.ndarray, axis: Axis, keepdims: bool) -> np.ndarray:
    return dy if keepdims or axis is None else np.expand_dims(dy, axis)
