"""Rearrangements: ops after which the same elements stand in other places, cut apart or joined."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from numformer._names import takes_synonyms
from numformer.autograd import Result, Tensor, op
from numformer.errors import InputError


@op
def reshape(x: np.ndarray, *, shape: int | Sequence[int]) -> Result:
    """Give the elements another shape; one length may be -1.

    x [B T D] -> [B*T D] with shape=(B*T, -1)
    x [...] -> [T B] with shape=(T, B)
    """
    before = x.shape
    return reshaped(x, shape), lambda dy: dy.reshape(before)  # the same elements in their old places


@op
def transpose(x: np.ndarray, *, axes: Sequence[int] | None = None) -> Result:
    """Reorder the axes; reverse them when `axes` is None.

    x [B T D] -> [D B T] with axes=(2, 0, 1)
    x [B T D] -> [B D T] with axes=(0, -1, -2)
    x [...] -> [T B]
    """
    back = None if axes is None else np.argsort([axis % x.ndim for axis in axes])  # argsort inverts a permutation
    return x.transpose(axes), lambda dy: dy.transpose(back)


@op
def index(x: np.ndarray, *, key: Any) -> Result:
    """Take `x[key]` for any NumPy key; an element taken twice gets both gradients.

    x [B T D] -> [B D] with key=(slice(None), 2)
    x [V D] -> [3 D] with key=[1, 4, 1]
    x [...] -> [T] with key=-1
    """
    key = _copied(key)
    shape, dtype = x.shape, x.dtype

    def vjp(dy: np.ndarray) -> np.ndarray:
        dx = np.zeros(shape, dtype)
        if _is_basic(key):
            dx[key] = dy  # every element is taken once
        else:
            np.add.at(dx, key, dy)  # an element may be taken several times
        return dx

    return x[key], vjp


@op
def concat(*xs: np.ndarray, axis: int = -1) -> Result:
    """Join arrays along an axis.

    x [B T D], y [B S D] -> [B T+S D] with axis=1
    x [...], y [...] -> [B T+T]
    """
    kinds = [x.dtype for x in xs if x.dtype.kind == "f"]  # NumPy makes float64 of float32 and whole numbers
    joined = np.concatenate(xs, axis=axis, dtype=np.result_type(*kinds) if kinds else None)
    borders = np.cumsum([x.shape[axis] for x in xs])[:-1]
    return joined, lambda dy: tuple(np.split(dy, borders, axis=axis))  # each its own part


@takes_synonyms
def cat(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Join a sequence of arrays along an axis, the first one by default: `concat` as PyTorch has it."""
    _check_axis("cat", axis)
    return concat(*arrays, axis=axis)


@takes_synonyms
def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Join a sequence of arrays of one shape along a new axis; raises InputError where their shapes differ."""
    _check_axis("stack", axis)
    arrays = [a if isinstance(a, (Tensor, np.ndarray)) else Tensor(a).data for a in arrays]
    if len(shapes := {a.shape for a in arrays}) != 1:
        raise InputError(f"stack needs arrays of one shape, got {', '.join(map(str, sorted(shapes))) or 'none'}")
    shape = shapes.pop()
    if not -len(shape) - 1 <= axis <= len(shape):
        raise InputError(f"stack: there is no axis {axis} among {len(shape) + 1}")
    at = axis % (len(shape) + 1)
    return concat(*(reshape(a, shape=(*shape[:at], 1, *shape[at:])) for a in arrays), axis=at)


@op
def split(x: np.ndarray, *, sections: int) -> Result:
    """Cut the last axis into equal parts.

    x [... D] -> [... D//2], [... D//2] with sections=2
    """
    parts = tuple(np.split(x, sections, axis=-1))
    shape, dtype = parts[0].shape, x.dtype

    def vjp(*dys: np.ndarray | None) -> np.ndarray:
        # A part that was not used has no gradient, which is a gradient of zeros.
        return np.concatenate([np.zeros(shape, dtype) if dy is None else dy for dy in dys], axis=-1)

    return parts, vjp


def reshaped(x: Any, shape: int | Sequence[int]) -> Any:
    """Return an array of any kind in another shape; raises InputError where the elements do not fit it."""
    try:
        return x.reshape(shape)
    except (ValueError, TypeError):
        raise InputError(f"reshape: {x.size} elements of shape {x.shape} do not fit the shape {shape}") from None


def _check_axis(name: str, axis: object) -> None:
    if not isinstance(axis, (int, np.integer)):
        raise InputError(
            f"{name} takes a list of arrays and an axis, as in {name}([x, y], 0), got the axis {axis!r:.60}"
        )


def _copied(key: Any) -> Any:
    """Return an index whose arrays belong to it alone: the caller may fill its own anew before the backward pass."""
    if isinstance(key, tuple):
        return tuple(map(_copied, key))
    key = getattr(key, "data", key) if hasattr(key, "edge") else key
    return copy.deepcopy(key) if isinstance(key, (np.ndarray, list)) else key


def _is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)
