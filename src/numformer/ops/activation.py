"""Activations, softmax among them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from numformer.autograd import Need, Result, op
from numformer.autograd.blocks import blocks
from numformer.autograd.storage import load, save
from numformer.errors import InputError
from numformer.ops.arithmetic import as_float


@op
def relu(x: np.ndarray, *, need: Need) -> Result:
    """Replace negative elements by 0; the derivative at 0 is 0.

    x [...] -> [...]
    """
    y = np.maximum(as_float(x), 0.0)
    kept = save(y, need)
    return y, lambda dy: dy * (load(kept) > 0)  # the slope is 1 where x > 0, which is where y > 0


@op
def leaky_relu(x: np.ndarray, *, need: Need, negative_slope: float = 0.01) -> Result:
    """Multiply negative elements by a small slope (Maas et al. 2013); the derivative at 0 is that slope.

    x [...] -> [...]
    x [...] -> [...] with negative_slope=0.3
    """
    x = as_float(x)
    positive = x > 0

    def vjp(dy: np.ndarray) -> np.ndarray:
        return np.where(positive, dy, dy * negative_slope)  # the slope is 1 where x > 0, negative_slope elsewhere

    return np.where(positive, x, x * negative_slope), vjp


@op
def tanh(x: np.ndarray, *, need: Need) -> Result:
    """Hyperbolic tangent; its derivative is 1 - tanh².

    x [...] -> [...]
    """
    y = np.tanh(as_float(x))
    kept = save(y, need)

    def vjp(dy: np.ndarray) -> np.ndarray:
        y = load(kept)
        return dy * (1.0 - y * y)  # the slope 1 - tanh², from the value

    return y, vjp


@op
def soft_cap(x: np.ndarray, *, need: Need, cap: float) -> Result:
    """Press every element into -cap..cap by cap tanh(x/cap), which leaves small ones nearly as they are.

    x [...] -> [...] with cap=2.0

    The derivative is 1 - tanh² (Gemma Team 2024, arXiv:2408.00118, §2). Raises InputError for a cap that is not above 0.
    """
    check_cap(cap)
    y = np.tanh(as_float(x) * (1.0 / cap))
    kept = save(y, need)

    def vjp(dy: np.ndarray) -> np.ndarray:
        y = load(kept)
        return dy * (1.0 - y * y)  # the slope 1 - tanh²: the cap and the 1/cap cancel

    return y * cap, vjp


@op
def sigmoid(x: np.ndarray, *, need: Need) -> Result:
    """Logistic function 1/(1 + e⁻ˣ); its derivative is σ(1 - σ).

    x [...] -> [...]
    """
    y = _sigmoid(as_float(x))
    kept = save(y, need)

    def vjp(dy: np.ndarray) -> np.ndarray:
        y = load(kept)
        return dy * (y * (1.0 - y))  # the slope σ(1 - σ), from the value

    return y, vjp


@op
def silu(x: np.ndarray, *, need: Need) -> Result:
    """x σ(x), also called swish (Elfwing et al. 2018); its derivative is σ + x σ (1 - σ).

    x [...] -> [...]
    """
    x = as_float(x)
    s = _sigmoid(x)
    y = x * s
    kept_s, kept_y = save(s, need), save(y, need)

    def vjp(dy: np.ndarray) -> np.ndarray:
        s, y = load(kept_s), load(kept_y)
        return dy * (s + y * (1.0 - s))  # the slope σ + xσ(1 - σ), with y = xσ

    return y, vjp


@op
def gelu(x: np.ndarray, *, need: Need, approximate: Literal["none", "tanh"] = "tanh") -> Result:
    """x Φ(x) with the normal distribution Φ, exact ("none") or by tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    x [...] -> [...]
    x [...] -> [...] with approximate="none"

    The derivative is taken at x, in the same cached block as the value, and kept in its place.
    """
    check_approximate(approximate)
    x = as_float(x)
    body = _gelu_tanh if approximate == "tanh" else _gelu_exact
    y = np.empty(x.shape, x.dtype)
    slope = np.empty(x.shape, x.dtype) if any(need) else None
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    flat_slope = None if slope is None else slope.reshape(-1)
    for part in blocks(x.size):
        body(flat_x[part], flat_y[part], None if flat_slope is None else flat_slope[part])
    kept = save(slope, need)
    return y, lambda dy: dy * load(kept)  # the slope, taken at x during the forward


def _gelu_tanh(x: np.ndarray, y: np.ndarray, slope: np.ndarray | None) -> None:
    """Write y = x h with h = (1 + tanh u)/2, u = c(x + a x³), and y' = h + 2y(1 - h)c(1 + 3a x²).

    Beyond |x| = 10 h is exactly 0 or 1 and the second term 0; x² is held at 100 there, so that it cannot overflow and
    make a NaN of that 0.
    """
    c, a = math.sqrt(2.0 / math.pi), 0.044715
    square = x * x
    np.minimum(square, 100.0, out=square)
    h = square * (c * a)
    h += c
    h *= x
    np.tanh(h, out=h)
    h *= 0.5
    h += 0.5
    np.multiply(x, h, out=y)
    if slope is not None:
        square *= 6.0 * c * a
        square += 2.0 * c
        square *= y
        np.subtract(1.0, h, out=slope)
        slope *= square
        slope += h


def _gelu_exact(x: np.ndarray, y: np.ndarray, slope: np.ndarray | None) -> None:
    """Write y = x Φ(x) = max(x, 0) - |x| Φ(-|x|) and y' = Φ(x) + x φ(x)."""
    size = np.abs(x)
    density = size * size
    density *= -0.5
    np.exp(density, out=density)
    _normal_tail(size, density, y)
    if slope is not None:
        np.multiply(x, density, out=slope)
        slope *= 1.0 / math.sqrt(2.0 * math.pi)
        slope += np.copysign(0.5 - y, x)  # Φ(x) - 1/2: choosing by the sign would cost more than all the rest
        slope += 0.5
    y *= size
    np.subtract(np.maximum(x, 0.0, out=size), y, out=y)


def _normal_tail(size: np.ndarray, density: np.ndarray, tail: np.ndarray) -> None:
    """Write Φ(-size) for sizes from 0 on, given exp(-size²/2).

    float32 uses Abramowitz and Stegun 7.1.26 (error 1.5e-7); float64, met in gradient checks only, uses math.erfc.
    """
    if size.dtype == np.float64:
        tail[...] = [0.5 * math.erfc(value / math.sqrt(2.0)) for value in size]
        return
    t = size * (0.3275911 / math.sqrt(2.0))
    t += 1.0
    np.reciprocal(t, out=t)
    np.multiply(t, 1.061405429, out=tail)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += coefficient
        tail *= t
    tail *= density
    tail *= 0.5


def check_cap(cap: float) -> None:
    """Raise InputError for a cap that is not above 0."""
    if not cap > 0.0:
        raise InputError(f"soft_cap: the cap must be above 0, got {cap}")


def check_approximate(approximate: str) -> None:
    """Raise InputError for another formula of GELU than there are."""
    if approximate not in ("none", "tanh"):
        raise InputError(f"gelu: approximate must be none or tanh, got {approximate!r}")


@op
def softmax(x: np.ndarray, *, axis: int = -1, need: Need) -> Result:
    """Exponentials along an axis, the last one by default, divided by their sum.

    x [... V] -> [... V]
    x [B V T] -> [B V T] with axis=1

    dx = y (dy - Σ y dy): the sum is the cross terms, since raising one logit lowers every other probability.
    """
    y = _softmax(as_float(x), axis)
    kept = save(y, need)

    def vjp(dy: np.ndarray) -> np.ndarray:
        y = load(kept)
        shift = np.vecdot(y, dy, axis=axis)  # type: ignore[call-overload]  # NumPy's types lack the axis
        return y * (dy - np.expand_dims(shift, axis))  # y dy, less the cross terms y Σ y dy

    return y, vjp


@op
def log_softmax(x: np.ndarray, *, axis: int = -1, need: Need) -> Result:
    """Logarithm of the softmax along an axis, the last one by default.

    x [... V] -> [... V]
    x [B V T] -> [B V T] with axis=1
    """
    x = as_float(x)
    shifted = x - x.max(axis=axis, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    kept = save(y, need)
    return y, lambda dy: dy - np.exp(load(kept)) * dy.sum(axis=axis, keepdims=True)  # dx = dy - softmax(x) Σ dy


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    y = np.exp(x - x.max(axis=axis, keepdims=True))  # the shift keeps exp from overflowing and changes nothing else
    y /= y.sum(axis=axis, keepdims=True)
    return y


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * x) + 0.5  # tanh saturates where exp would overflow
