"""Arithmetic, reductions and rearrangements: the ops behind the operators of Tensor.

A pullback that needs the shape of an array only must not mention the array, which would keep it alive. Divisors are kept
as they are and do not go through `save`: one that rounds to 0 would make the gradient infinite.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from numformer.errors import InputError
from numformer.ops.storage import load, save
from numformer.tape import needs_gradient, op

Axis = int | tuple[int, ...] | None


@op
def add(x: Any, y: Any) -> Any:
    """Add, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    need_x, need_y = needs_gradient()

    def vjp(dz: np.ndarray) -> Any:
        return _unbroadcast(dz, x_shape) if need_x else None, _unbroadcast(dz, y_shape) if need_y else None

    return x + y, vjp


@op
def sub(x: Any, y: Any) -> Any:
    """Subtract, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    need_x, need_y = needs_gradient()

    def vjp(dz: np.ndarray) -> Any:
        return _unbroadcast(dz, x_shape) if need_x else None, _unbroadcast(-dz, y_shape) if need_y else None

    return x - y, vjp


@op
def mul(x: Any, y: Any) -> Any:
    """Multiply element by element, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    need_x, need_y = needs_gradient()
    kept_x, kept_y = save(x) if need_y else None, save(y) if need_x else None

    def vjp(dz: np.ndarray) -> Any:
        dx = _unbroadcast(dz * load(kept_y), x_shape) if need_x else None
        return dx, _unbroadcast(dz * load(kept_x), y_shape) if need_y else None

    return x * y, vjp


@op
def div(x: Any, y: Any) -> Any:
    """Divide element by element, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    need_x, need_y = needs_gradient()
    z = x / y
    x_shape, y_shape = np.shape(x), np.shape(y)
    kept_z = save(z) if need_y else None

    def vjp(dz: np.ndarray) -> Any:
        dx = dz / y
        dy = _unbroadcast(-dx * load(kept_z), y_shape) if need_y else None
        return _unbroadcast(dx, x_shape) if need_x else None, dy

    return z, vjp


@op
def exp(x: np.ndarray) -> Any:
    """Raise e to the power of every element.

    x [...] -> [...]
    """
    y = np.exp(x)
    kept = save(y)
    return y, lambda dy: dy * load(kept)


@op
def log(x: np.ndarray) -> Any:
    """Take the natural logarithm of every element, which must be positive.

    x [...] -> [...]
    """
    return np.log(x), lambda dy: dy / x


@op
def matmul(x: np.ndarray, y: np.ndarray) -> Any:
    """Multiply matrices in the last two axes; the leading axes broadcast.

    x [... T K], y [... K S] -> [... T S]
    """
    x_shape, y_shape = x.shape, y.shape
    need_x, need_y = needs_gradient()
    kept_x, kept_y = save(x) if need_y else None, save(y) if need_x else None

    def vjp(dz: np.ndarray) -> Any:
        dx = _unbroadcast(dz @ load(kept_y).swapaxes(-1, -2), x_shape) if need_x else None
        return dx, _unbroadcast(load(kept_x).swapaxes(-1, -2) @ dz, y_shape) if need_y else None

    return x @ y, vjp


@op
def sum(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Sum over `axis`, or over everything.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """
    shape = x.shape

    def vjp(dy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_restore_axes(dy, axis, keepdims), shape)

    return x.sum(axis=axis, keepdims=keepdims), vjp


@op
def mean(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Average over `axis`, or over everything.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """
    y = x.mean(axis=axis, keepdims=keepdims)
    shape, count = x.shape, x.size / builtins.max(y.size, 1)

    def vjp(dy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_restore_axes(dy / count, axis, keepdims), shape)

    return y, vjp


@op
def reshape(x: np.ndarray, *, shape: int | Sequence[int]) -> Any:
    """Give the elements another shape; one length may be -1.

    x [B T D] -> [B*T D] with shape=(B*T, -1)
    x [...] -> [T B] with shape=(T, B)
    """
    before = x.shape
    try:
        y = x.reshape(shape)
    except ValueError:
        raise InputError(f"reshape: {x.size} elements of shape {before} do not fit the shape {shape}") from None
    return y, lambda dy: dy.reshape(before)


@op
def transpose(x: np.ndarray, *, axes: Sequence[int] | None = None) -> Any:
    """Reorder the axes; reverse them when `axes` is None.

    x [B T D] -> [D B T] with axes=(2, 0, 1)
    x [...] -> [T B]
    """
    return x.transpose(axes), lambda dy: dy.transpose(None if axes is None else np.argsort(axes))


@op
def index(x: np.ndarray, *, key: Any) -> Any:
    """Take `x[key]` for any NumPy key; an element taken twice gets both gradients.

    x [B T D] -> [B D] with key=(slice(None), 2)
    x [V D] -> [3 D] with key=[1, 4, 1]
    x [...] -> [T] with key=-1
    """
    key = key.data if hasattr(key, "edge") else key
    shape, dtype = x.shape, x.dtype

    def vjp(dy: np.ndarray) -> np.ndarray:
        dx = np.zeros(shape, dtype)
        if _is_basic(key):
            dx[key] = dy
        else:
            np.add.at(dx, key, dy)
        return dx

    return x[key], vjp


@op
def concat(*xs: np.ndarray, axis: int = -1) -> Any:
    """Join arrays along an axis.

    x [B T D], y [B S D] -> [B T+S D] with axis=1
    x [...], y [...] -> [B T+T]
    """
    borders = np.cumsum([x.shape[axis] for x in xs])[:-1]
    return np.concatenate(xs, axis=axis), lambda dy: tuple(np.split(dy, borders, axis=axis))


@op
def split(x: np.ndarray, *, sections: int) -> Any:
    """Cut the last axis into equal parts.

    x [... D] -> [... D//2], [... D//2] with sections=2
    """
    parts = tuple(np.split(x, sections, axis=-1))
    shape, dtype = parts[0].shape, x.dtype

    def vjp(*dys: np.ndarray | None) -> np.ndarray:
        return np.concatenate([np.zeros(shape, dtype) if dy is None else dy for dy in dys], axis=-1)

    return parts, vjp


@op
def where(condition: np.ndarray, x: Any, y: Any) -> Any:
    """Take x where the condition holds and y elsewhere, with broadcasting.

    condition [...] bool, x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    _, need_x, need_y = needs_gradient()

    def vjp(dz: np.ndarray) -> Any:
        zero = np.zeros((), dz.dtype)
        dx = _unbroadcast(np.where(condition, dz, zero), x_shape) if need_x else None
        return None, dx, _unbroadcast(np.where(condition, zero, dz), y_shape) if need_y else None

    return np.where(condition, x, y), vjp


def _operands(x: Any, y: Any) -> tuple[Any, Any]:
    """Return operands that leave a float32 array float32: scalars of NumPy become Python's, whole numbers are converted."""
    x, y = (a.item() if isinstance(a, np.generic) else a for a in (x, y))
    return _like(x, y), _like(y, x)


def _like(x: Any, other: Any) -> Any:
    if not isinstance(x, np.ndarray) or not isinstance(other, np.ndarray) or other.dtype.kind != "f":
        return x
    return x.astype(other.dtype) if x.dtype.kind in "iub" or (x.ndim == 0 and other.ndim > 0) else x


def _unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum a gradient over the axes along which an array of that shape was repeated."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, length in enumerate(shape) if length == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True)


def _restore_axes(dy: np.ndarray, axis: Axis, keepdims: bool) -> np.ndarray:
    return dy if keepdims or axis is None else np.expand_dims(dy, axis)


def _is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)
