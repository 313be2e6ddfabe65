"""What is computed in float32 where arrays are of lower precision: sums over many numbers, and logarithms."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def wide(x: Any) -> Any:
    """Return an array as float32, or as it is where it is more precise."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
