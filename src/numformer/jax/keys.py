"""Random numbers under JAX: keys that are arguments of a compiled function, and the masks of dropout that follow from them.

A key that Python draws while a function is traced is a constant of what is compiled: every step would drop the same elements.
So inside `keyed(key)` a layer gets the pair (key, number of the call), and the numbers are drawn by the compiled program.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numformer import random
from numformer.errors import InputError
from numformer.ops.dropout import LEVELS, levels_kept


def keyed(key: Any) -> AbstractContextManager[None]:
    """Draw every random number of this thread in the block from `key`, each call of a layer another one.

    `key` is a key of JAX (`jax.random.key`), or one of the older ones [2] (`jax.random.PRNGKey`); the same key draws the same
    numbers. Raises InputError for anything else.
    """
    if not isinstance(key, jax.Array) or not (_is_key(key) or (key.shape == (2,) and key.dtype == jnp.uint32)):
        raise InputError(f"keyed takes a key of JAX such as jax.random.key(0), got {key!r:.60}")
    return random.use(random.Stream(key if _is_key(key) else jax.random.wrap_key_data(key)))  # type: ignore[arg-type]


def factors(shape: tuple[int, ...], p: float, key: tuple[Any, ...], by_numbers: Callable[[], Any]) -> Any:
    """Return what dropout multiplies elements by: 0 with probability p, otherwise what leaves the expected value unchanged.

    A key of whole numbers draws what it draws in NumPy, which is what `by_numbers` returns. Raises InputError for a key that
    would be a constant of what is compiled.
    """
    if all(isinstance(part, (int, np.integer)) for part in key):
        return by_numbers()
    kept, folded = levels_kept(p), key[0]
    for part in key[1:]:
        folded = jax.random.fold_in(folded, part)
    words = jax.random.bits(folded, shape, jnp.uint16)
    if isinstance(words, jax.core.Tracer) and not isinstance(key[0], jax.core.Tracer):
        raise InputError(
            "the key of keyed(key) must be an argument of the function that is compiled: "
            "with one that is known before, every call would drop the same elements"
        )
    return jnp.where(words < kept, LEVELS / kept, 0.0)


def _is_key(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, jax.dtypes.prng_key))
