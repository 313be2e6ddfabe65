"""What is computed in float32 where arrays are of lower precision: sums over many numbers, and logarithms.

The gradient of what is added at many places, or read there, is a sum over them all. In bfloat16 that stands still where the
next number is less than the 256th part of it.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def wide(x: Any) -> Any:
    """Return an array as float32, or as it is where it is more precise."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def added(x: Any, y: Any) -> Any:
    """Return x + y in the dtype that they have together; the gradient of one that is repeated is summed in float32."""
    dtype = jnp.result_type(x, y)
    if not jnp.issubdtype(dtype, jnp.floating):
        return jnp.add(x, y)
    return jnp.add(wide(jnp.asarray(x, dtype)), wide(jnp.asarray(y, dtype))).astype(dtype)


def looked_up(weight: Any, ids: Any) -> Any:
    """Return rows of a table, NaN for an id outside; the gradient of a row that is read often is summed in float32."""
    return jnp.take(wide(weight), ids, axis=0, mode="fill").astype(weight.dtype)
