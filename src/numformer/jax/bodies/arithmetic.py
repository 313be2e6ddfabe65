"""Arithmetic, activations and reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from numformer import ops
from numformer.autograd import Op
from numformer.jax.keys import factors
from numformer.jax.precision import added
from numformer.ops.activation import check_approximate, check_cap
from numformer.ops.dropout import keep_mask

_SAME: dict[Op, Callable[..., Any]] = {
    ops.add: added,
    ops.sub: jnp.subtract,
    ops.mul: jnp.multiply,
    ops.div: jnp.true_divide,
    ops.power: jnp.power,
    ops.matmul: jnp.matmul,
    ops.where: jnp.where,
    ops.abs: jnp.abs,
    ops.exp: jnp.exp,
    ops.log: jnp.log,
    ops.tanh: jnp.tanh,
    ops.sum: jnp.sum,
    ops.max: jnp.max,
    ops.min: jnp.min,
    ops.mean: jnp.mean,
    ops.relu: jax.nn.relu,
    ops.sigmoid: jax.nn.sigmoid,
    ops.silu: jax.nn.silu,
    ops.softmax: jax.nn.softmax,
    ops.log_softmax: jax.nn.log_softmax,
}
for _op, _body in _SAME.items():
    _op.jax(_body)


@ops.leaky_relu.jax
def _(x: Any, *, negative_slope: float = 0.01) -> Any:
    return jnp.where(x > 0, x, x * negative_slope)


@ops.soft_cap.jax
def _(x: Any, *, cap: float) -> Any:
    check_cap(cap)
    return cap * jnp.tanh(x / cap)


@ops.gelu.jax
def _(x: Any, *, approximate: str = "tanh") -> Any:
    check_approximate(approximate)
    return jax.nn.gelu(x, approximate=approximate == "tanh")


@ops.dropout.jax
def _(x: Any, *, p: float, key: tuple[Any, ...]) -> Any:
    def by_numbers() -> Any:
        keep, scale = keep_mask(x.shape, p, key)
        return keep * scale

    return x * factors(x.shape, p, key, by_numbers).astype(x.dtype)
