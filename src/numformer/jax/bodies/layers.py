"""What layers are made of: the linear map, tables, norms, rotary positions, and one vector for a whole sequence.

An id outside its table gives NaN: what arrays hold is not known while a function is compiled, so nothing can be raised.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numformer import ops
from numformer.jax.gathering import product
from numformer.jax.precision import added, looked_up, wide
from numformer.ops.position import checked_frequencies


@ops.linear.jax
def _(x: Any, weight: Any, bias: Any = None) -> Any:
    y = product(x, weight)
    return y if bias is None else added(y, bias)


@ops.embedding.jax
def _(ids: Any, weight: Any, *, padding_id: int | None = None) -> Any:
    rows = looked_up(weight, ids)
    return rows if padding_id is None else jnp.where((ids == padding_id)[..., None], jax.lax.stop_gradient(rows), rows)


@ops.embedding_bag.jax
def _(ids: Any, weight: Any, *, padding_id: int | None = None) -> Any:
    rows = looked_up(weight, ids)
    return (rows if padding_id is None else jnp.where((ids == padding_id)[..., None], 0.0, rows)).sum(axis=2)


@ops.layer_norm.jax
def _(x: Any, weight: Any, bias: Any, *, eps: float = 1e-5) -> Any:
    centred = wide(x) - wide(x).mean(axis=-1, keepdims=True)
    xhat = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + eps)
    return (xhat * weight + bias).astype(weight.dtype)


@ops.rms_norm.jax
def _(x: Any, weight: Any, *, eps: float = 1e-6) -> Any:
    xhat = wide(x) * jax.lax.rsqrt(jnp.square(wide(x)).mean(axis=-1, keepdims=True) + eps)
    return (xhat * weight).astype(weight.dtype)


@ops.masked_mean.jax
def _(x: Any, mask: Any) -> Any:
    weights = jnp.asarray(mask, x.dtype)[:, :, None]
    return (x * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1.0)


@ops.take_position.jax
def _(x: Any, position: Any) -> Any:
    return jnp.take_along_axis(x, jnp.asarray(position)[:, None, None], axis=1, mode="fill")[:, 0]


@ops.rope.jax
def _(x: Any, positions: Any, *, theta: float = 10000.0, frequencies: tuple[float, ...] | None = None) -> Any:
    angles = _angles(positions, checked_frequencies(x.shape[-1], theta, frequencies), x.dtype)
    angles = angles[:, None] if positions.ndim == 2 else angles
    cos, sin, half = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype), angles.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)


def _angles(positions: Any, frequencies: tuple[float, ...], dtype: Any) -> Any:
    """Return positions times frequencies, less whole turns where they are not float64.

    A large angle has few binary places left in float32. So turns are counted in units of 2⁻³² by whole numbers, from which
    whole turns drop out by overflow.
    """
    if dtype == jnp.float64:
        return jnp.asarray(positions, dtype)[..., None] * jnp.asarray(frequencies, dtype)
    steps = np.array([round(each / math.tau * 2**32) % 2**32 for each in frequencies], np.uint32)
    turns = jnp.asarray(positions).astype(jnp.uint32)[..., None] * steps
    return jax.lax.bitcast_convert_type(turns, jnp.int32).astype(jnp.float32) * (math.tau / 2**32)
