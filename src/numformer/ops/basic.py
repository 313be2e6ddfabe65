"""Arithmetic, reductions and rearrangements: the ops behind the operators of Tensor."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from numformer.errors import InputError
from numformer.tape import needs_gradient, op

Axis = int | tuple[int, ...] | None


@op
def add(x: Any, y: Any) -> Any:
    """Add, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)

    def vjp(dz: np.ndarray) -> Any:
        return _unbroadcast(dz, x), _unbroadcast(dz, y)

    return x + y, vjp


@op
def sub(x: Any, y: Any) -> Any:
    """Subtract, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)

    def vjp(dz: np.ndarray) -> Any:
        return _unbroadcast(dz, x), _unbroadcast(-dz, y)

    return x - y, vjp


@op
def mul(x: Any, y: Any) -> Any:
    """Multiply element by element, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    need_x, need_y = needs_gradient()

    def vjp(dz: np.ndarray) -> Any:
        return _unbroadcast(dz * y, x) if need_x else None, _unbroadcast(dz * x, y) if need_y else None

    return x * y, vjp


@op
def div(x: Any, y: Any) -> Any:
    """Divide element by element, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    need_x, need_y = needs_gradient()
    z = x / y

    def vjp(dz: np.ndarray) -> Any:
        dx = dz / y
        return _unbroadcast(dx, x) if need_x else None, _unbroadcast(-dx * z, y) if need_y else None

    return z, vjp


@op
def exp(x: np.ndarray) -> Any:
    """Raise e to the power of every element.

    x [...] -> [...]
    """
    y = np.exp(x)
    return y, lambda dy: dy * y


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
    need_x, need_y = needs_gradient()

    def vjp(dz: np.ndarray) -> Any:
        dx = _unbroadcast(dz @ y.swapaxes(-1, -2), x) if need_x else None
        dy = _unbroadcast(x.swapaxes(-1, -2) @ dz, y) if need_y else None
        return dx, dy

    return x @ y, vjp


@op
def sum(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Sum over `axis`, or over everything.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """

    def vjp(dy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_restore_axes(dy, x, axis, keepdims), x.shape)

    return x.sum(axis=axis, keepdims=keepdims), vjp


@op
def mean(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Average over `axis`, or over everything.

    x [B T D] -> [B D] with axis=1
    x [...] -> []
    """
    y = x.mean(axis=axis, keepdims=keepdims)
    count = x.size / builtins.max(y.size, 1)

    def vjp(dy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_restore_axes(dy / count, x, axis, keepdims), x.shape)

    return y, vjp


@op
def reshape(x: np.ndarray, *, shape: int | Sequence[int]) -> Any:
    """Give the elements another shape; one length may be -1.

    x [B T D] -> [B*T D] with shape=(B*T, -1)
    x [...] -> [T B] with shape=(T, B)
    """
    try:
        y = x.reshape(shape)
    except ValueError:
        raise InputError(f"reshape: {x.size} elements of shape {x.shape} do not fit the shape {shape}") from None
    return y, lambda dy: dy.reshape(x.shape)


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

    def vjp(dy: np.ndarray) -> np.ndarray:
        dx = np.zeros_like(x)
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

    def vjp(*dys: np.ndarray | None) -> np.ndarray:
        zeros = np.zeros(parts[0].shape, x.dtype) if any(dy is None for dy in dys) else None
        return np.concatenate([zeros if dy is None else dy for dy in dys], axis=-1)  # type: ignore[misc]

    return parts, vjp


@op
def where(condition: np.ndarray, x: Any, y: Any) -> Any:
    """Take x where the condition holds and y elsewhere, with broadcasting.

    condition [...] bool, x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)

    def vjp(dz: np.ndarray) -> Any:
        zero = np.zeros((), dz.dtype)
        dx, dy = np.where(condition, dz, zero), np.where(condition, zero, dz)
        return None, _unbroadcast(dx, x), _unbroadcast(dy, y)

    return np.where(condition, x, y), vjp


def _operands(x: Any, y: Any) -> tuple[Any, Any]:
    """Turn NumPy scalars into Python numbers, which leave float32 as it is."""
    return tuple(a.item() if isinstance(a, np.generic) else a for a in (x, y))  # type: ignore[return-value]


def _unbroadcast(grad: np.ndarray, x: Any) -> np.ndarray | None:
    """Sum a gradient over the axes along which x was repeated; None for a Python number."""
    if not isinstance(x, np.ndarray):
        return None
    if grad.shape == x.shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - x.ndim)))
    stretched = tuple(i for i, length in enumerate(x.shape) if length == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True)


def _restore_axes(dy: np.ndarray, x: np.ndarray, axis: Axis, keepdims: bool) -> np.ndarray:
    return dy if keepdims or axis is None else np.expand_dims(dy, axis)


def _is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)
