"""Weights that are cut along `fsdp` are whole where they are used, and only then.

The gradient of a product needs its weight. If that were the whole one, every device would hold all of the model from the
forward to the backward pass, so each of the two gathers it (Rajbhandari et al. 2020, arXiv:1910.02054, §7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding


class Part(NamedTuple):
    """What a device holds of a weight, and how the weight is cut where it is used."""

    array: Any
    gathered: NamedSharding


_parts: ContextVar[Mapping[int, Part]] = ContextVar(
    "parts", default=MappingProxyType({})
)  # by the id of the whole array
_runs_again: ContextVar[bool] = ContextVar("runs_again", default=False)


@contextmanager
def gathered(parts: Mapping[str, Part]) -> Iterator[dict[str, Any]]:
    """Give whole arrays for parts; products with them in the block keep the parts alone for their gradients."""
    whole = {name: cut_as(*part) for name, part in parts.items()}
    token = _parts.set({id(array): parts[name] for name, array in whole.items()})
    try:
        yield whole
    finally:
        _parts.reset(token)


@contextmanager
def running_again() -> Iterator[None]:
    """Trace what runs again in the backward pass: there one gathering serves the second run and the gradient."""
    token = _runs_again.set(True)
    try:
        yield
    finally:
        _runs_again.reset(token)


def product(x: Any, weight: Any) -> Any:
    """Return x @ weight.T, whose gradient gathers a weight that is cut anew."""
    part = _parts.get().get(id(weight))
    if part is None:
        return x @ weight.T

    def gather_and_multiply(x: Any, array: Any) -> Any:
        return x @ cut_as(array, part.gathered).T

    if _runs_again.get():
        return gather_and_multiply(x, part.array)
    # Without a barrier XLA would find the second gathering to be the first. On x it would be in the way of fusion.
    return jax.checkpoint(gather_and_multiply, prevent_cse=(False, True))(x, part.array)


def cut_as(array: Any, sharding: NamedSharding) -> Any:
    """Have XLA cut an array so, inside a compiled function."""
    constrain: Any = jax.lax.with_sharding_constraint
    return constrain(array, sharding)
