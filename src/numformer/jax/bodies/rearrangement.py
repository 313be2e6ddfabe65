"""Rearrangements: the same elements in other places, cut apart or joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from numformer import ops
from numformer.autograd import Tensor
from numformer.ops.rearrangement import reshaped


@ops.reshape.jax
def _(x: Any, *, shape: int | Sequence[int]) -> Any:
    return reshaped(x, shape)


@ops.transpose.jax
def _(x: Any, *, axes: Sequence[int] | None = None) -> Any:
    return jnp.transpose(x, axes)


@ops.index.jax
def _(x: Any, *, key: Any) -> Any:
    return jnp.asarray(x)[tuple(map(_part, key)) if isinstance(key, tuple) else _part(key)]


@ops.concat.jax
def _(*xs: Any, axis: int = -1) -> Any:
    return jnp.concatenate(xs, axis=axis)


@ops.split.jax
def _(x: Any, *, sections: int) -> Any:
    return tuple(jnp.split(x, sections, axis=-1))


@ops.split_heads.jax
def _(x: Any, *, num_heads: int) -> Any:
    return x.reshape(*x.shape[:2], num_heads, -1).swapaxes(1, 2)


@ops.merge_heads.jax
def _(x: Any) -> Any:
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _part(key: Any) -> Any:
    """Return a part of an index as JAX takes it: no Tensors, and arrays in place of lists."""
    key = key.data if isinstance(key, Tensor) else key
    return jnp.asarray(key) if isinstance(key, list) else key
