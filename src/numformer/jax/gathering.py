"""Weights that are cut along `fsdp` are whole where they are used, and only then.

The gradient of a product needs its weight. If that were the whole one, every device would hold all of the model from the
forward to the backward pass, so each of the two gathers it (Rajbhandari et al. 2020, arXiv:1910.02054, §7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding


class Part(NamedTuple):
    """What a device holds of a weight, and how the weight is cut where it is used."""

    array: Any
    gathered: NamedSharding


_parts: ContextVar[dict[int, Part]] = ContextVar("parts", default={})  # by the id of the array that is gathered of them  # noqa: B039
_runs_again: ContextVar[bool] = ContextVar("runs_again", default=False)


@contextmanager
def gathered(parts: Mapping[str, Part]) -> Iterator[dict[str, Any]]:
    """Give whole arrays for parts, whose products in the block keep the parts alone for their gradients."""
    whole = {name: _whole(*part) for name, part in parts.items()}
    token = _parts.set({id(array): parts[name] for name, array in whole.items()})
    try:
        yield whole
    finally:
        _parts.reset(token)


@contextmanager
def running_again() -> Iterator[None]:
    """Trace what runs again as a whole in the backward pass: there one gathering serves both of its uses."""
    token = _runs_again.set(True)
    try:
        yield
    finally:
        _runs_again.reset(token)


def product(x: Any, weight: Any) -> Any:
    """Return x @ weight.T; the gradient gathers the weight again where it is cut."""
    part = _parts.get().get(id(weight))
    if part is None:
        return x @ weight.T
    if _runs_again.get():
        return _product(x, *part)
    # The barrier that keeps XLA from taking the first gathering for the second is not put on x, which need not wait.
    return jax.checkpoint(lambda x, array: _product(x, array, part.gathered), prevent_cse=(False, True))(x, part.array)


def _product(x: Any, array: Any, sharding: NamedSharding) -> Any:
    return x @ _whole(array, sharding).T


def _whole(array: Any, sharding: NamedSharding) -> Any:
    constrain: Any = jax.lax.with_sharding_constraint
    return constrain(array, sharding)
