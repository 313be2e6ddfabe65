"""Arithmetic: the ops behind the operators of Tensor, element by element but for the product of matrices.

A pullback that needs the shape of an array only must not mention the array, which would keep it alive. Divisors are kept
as they are and do not go through `save`: one that rounds to 0 would make the gradient infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.autograd.storage import load, save


@op
def add(x: Any, y: Any, *, need: Need) -> Result:
    """Add, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    need_x, need_y = need

    def vjp(dz: np.ndarray) -> Gradients:
        dx = _unbroadcast(dz, x_shape) if need_x else None  # dz · 1
        dy = _unbroadcast(dz, y_shape) if need_y else None  # dz · 1
        return dx, dy

    return x + y, vjp


@op
def sub(x: Any, y: Any, *, need: Need) -> Result:
    """Subtract, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    need_x, need_y = need

    def vjp(dz: np.ndarray) -> Gradients:
        dx = _unbroadcast(dz, x_shape) if need_x else None  # dz · 1
        dy = _unbroadcast(-dz, y_shape) if need_y else None  # dz · (-1)
        return dx, dy

    return x - y, vjp


@op
def mul(x: Any, y: Any, *, need: Need) -> Result:
    """Multiply element by element, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    need_x, need_y = need
    kept_x, kept_y = save(x, need) if need_y else None, save(y, need) if need_x else None

    def vjp(dz: np.ndarray) -> Gradients:
        dx = _unbroadcast(dz * load(kept_y), x_shape) if need_x else None  # dz · y
        dy = _unbroadcast(dz * load(kept_x), y_shape) if need_y else None  # dz · x
        return dx, dy

    return x * y, vjp


@op
def div(x: Any, y: Any, *, need: Need) -> Result:
    """Divide element by element, with broadcasting.

    x [...], y [...] -> [...]
    """
    x, y = (as_float(a) if isinstance(a, np.ndarray) else a for a in _operands(x, y))
    need_x, need_y = need
    with _silent():
        z = x / y
    x_shape, y_shape = np.shape(x), np.shape(y)
    kept_z = save(z, need) if need_y else None

    def vjp(dz: np.ndarray) -> Gradients:
        with _silent():
            over_y = dz / y
            dx = _unbroadcast(over_y, x_shape) if need_x else None  # dz · 1/y
            dy = _unbroadcast(-over_y * load(kept_z), y_shape) if need_y else None  # dz · (-x/y²) = -(dz/y) z
        return dx, dy

    return z, vjp


@op
def power(x: Any, y: Any, *, need: Need) -> Result:
    """Raise x to the power y, with broadcasting; negative elements of x need whole exponents.

    x [...], y [...] -> [...]

    At an exponent of 0 the gradient of x is 0, and at x = 0 so is that of an exponent from 0 up, as PyTorch has them.
    """
    x, y = _operands(x, y)
    need_x, need_y = need
    with _silent():
        z = x**y
    x_shape, y_shape = np.shape(x), np.shape(y)

    def vjp(dz: np.ndarray) -> Gradients:
        with _silent():
            dx = np.where(np.equal(y, 0), 0.0, dz * y * x ** (y - 1.0)) if need_x else None  # dz · y xʸ⁻¹
            dy = None
            if need_y:
                at_zero = np.equal(x, 0) & np.greater_equal(y, 0)
                dy = np.where(at_zero, 0.0, dz * z * np.log(x))  # dz · xʸ log x
        return _shaped(dx, dz.dtype, x_shape), _shaped(dy, dz.dtype, y_shape)

    return z, vjp


@op
def abs(x: np.ndarray, *, need: Need) -> Result:
    """Absolute value of every element; the derivative at 0 is 0.

    x [...] -> [...]
    """
    kept = save(x, need)
    return np.abs(x), lambda dy: dy * np.sign(load(kept))  # the slope is 1 above 0 and -1 below


@op
def exp(x: np.ndarray, *, need: Need) -> Result:
    """Raise e to the power of every element.

    x [...] -> [...]
    """
    with _silent():
        y = np.exp(as_float(x))
    kept = save(y, need)
    return y, lambda dy: dy * load(kept)  # the derivative of eˣ is eˣ


@op
def log(x: np.ndarray) -> Result:
    """Take the natural logarithm of every element: -inf of 0, and nan below.

    x [...] -> [...]
    """
    x = as_float(x)

    def vjp(dy: np.ndarray) -> np.ndarray:
        with _silent():
            return np.asarray(dy / x)  # the derivative of log x is 1/x

    with _silent():
        return np.log(x), vjp


@op
def matmul(x: np.ndarray, y: np.ndarray, *, need: Need) -> Result:
    """Multiply matrices in the last two axes; the leading axes broadcast.

    x [... T K], y [... K S] -> [... T S]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = x.shape, y.shape
    need_x, need_y = need
    kept_x, kept_y = save(x, need) if need_y else None, save(y, need) if need_x else None

    def vjp(dz: np.ndarray) -> Gradients:
        dx = _unbroadcast(dz @ load(kept_y).swapaxes(-1, -2), x_shape) if need_x else None  # dZ Yᵀ
        dy = _unbroadcast(load(kept_x).swapaxes(-1, -2) @ dz, y_shape) if need_y else None  # Xᵀ dZ
        return dx, dy

    return x @ y, vjp


@op
def where(condition: np.ndarray, x: Any, y: Any, *, need: Need) -> Result:
    """Take x where the condition holds and y elsewhere, with broadcasting.

    condition [...] bool, x [...], y [...] -> [...]
    """
    x, y = _operands(x, y)
    x_shape, y_shape = np.shape(x), np.shape(y)
    _, need_x, need_y = need

    def vjp(dz: np.ndarray) -> Gradients:
        zero = np.zeros((), dz.dtype)
        dx = _unbroadcast(np.where(condition, dz, zero), x_shape) if need_x else None  # dz where x was taken
        dy = _unbroadcast(np.where(condition, zero, dz), y_shape) if need_y else None  # dz where y was taken
        return None, dx, dy

    return np.where(condition, x, y), vjp


def as_float(x: np.ndarray) -> np.ndarray:
    """Return whole numbers as float32, which NumPy would make float64; other arrays as they are."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)


def _silent() -> np.errstate:
    """Return the context of what has no number as its value, which is infinite or nan and, as in PyTorch, no warning."""
    return np.errstate(divide="ignore", invalid="ignore", over="ignore")


def _operands(x: Any, y: Any) -> tuple[Any, Any]:
    """Return operands that leave a float32 array float32: scalars of NumPy become Python's, whole numbers are converted."""
    if type(x) is np.ndarray and type(y) is np.ndarray and x.dtype == y.dtype:  # the usual case
        return x, y
    x, y = (a.item() if isinstance(a, np.generic) else a for a in (x, y))
    return _like(x, y), _like(y, x)


def _like(x: Any, other: Any) -> Any:
    if isinstance(x, np.ndarray) and isinstance(other, float):
        return as_float(x)
    if not isinstance(x, np.ndarray) or not isinstance(other, np.ndarray) or other.dtype.kind != "f":
        return x
    return x.astype(other.dtype) if x.dtype.kind in "iub" or (x.ndim == 0 and other.ndim > 0) else x


def _shaped(grad: np.ndarray | None, dtype: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    return None if grad is None else _unbroadcast(grad.astype(dtype, copy=False), shape)


def _unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum a gradient over the axes along which an array of that shape was repeated."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, length in enumerate(shape) if length == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True)
