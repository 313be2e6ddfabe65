"""Initialisers: each returns a new float32 Parameter, and each `draw_…` draws one that is there anew."""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numformer import random
from numformer.autograd import Parameter, namespace_of
from numformer.errors import InputError


class _Thread(threading.local):
    drawing = True
    allocating = True

    def __init__(self) -> None:
        self.undrawn: dict[int, Parameter] = {}  # made in the block that leaves them so, by their ids


_thread = _Thread()


@contextmanager
def undrawn() -> Iterator[None]:
    """Leave weights undrawn in this thread while the block runs: zeros, which cost nothing until they are read.

    A model builds its layers so and then draws all weights in one function; a loader builds the whole model so.
    """
    before, _thread.drawing = _thread.drawing, False
    try:
        yield
    finally:
        _thread.drawing = before
        if before:
            _thread.undrawn.clear()


@contextmanager
def shapes_only() -> Iterator[None]:
    """Make matrices that have a shape and no memory, in this thread while the block runs; they cannot be written to.

    So a model that no machine has memory for can be looked at: its parameters counted, its layers listed.
    """
    before, _thread.allocating = _thread.allocating, False
    try:
        with undrawn():
            yield
    finally:
        _thread.allocating = before


def is_undrawn(parameter: Parameter) -> bool:
    """Tell, inside `undrawn()`, whether a parameter was left so: its zeros have no memory yet."""
    return id(parameter) in _thread.undrawn


def is_allocating() -> bool:
    """Tell whether parameters get memory in this thread."""
    return _thread.allocating


def check_sizes(**sizes: object) -> None:
    """Raise InputError for a size that is no whole number of at least 1: a layer without numbers learns nothing."""
    for name, size in sizes.items():
        if not (isinstance(size, numbers.Integral) and int(size) >= 1):
            raise InputError(f"{name} must be a whole number of at least 1, got {size!r:.60}")


def normal(*shape: int, std: float, generator: Any = None) -> Parameter:
    """Return a parameter drawn from N(0, std²)."""
    parameter = _reserved(shape)
    draw_normal(parameter, std, generator)
    return parameter


def uniform(*shape: int, bound: float, generator: Any = None) -> Parameter:
    """Return a parameter drawn uniformly between -bound and bound."""
    parameter = _reserved(shape)
    draw_uniform(parameter, bound, generator)
    return parameter


def xavier_uniform(fan_out: int, fan_in: int, generator: Any = None) -> Parameter:
    """Return a weight [out in] that keeps the variance of signals and gradients (Glorot and Bengio 2010)."""
    parameter = _reserved((fan_out, fan_in))
    draw_xavier(parameter, generator)
    return parameter


def zeros(*shape: int) -> Parameter:
    """Return a parameter that is 0 everywhere."""
    return Parameter.full(shape, 0.0)


def ones(*shape: int) -> Parameter:
    """Return a parameter that is 1 everywhere."""
    return Parameter.full(shape, 1.0)


def draw_normal(parameter: Parameter, std: float, generator: Any = None) -> None:
    """Draw a parameter from N(0, std²)."""
    if _thread.drawing:
        (generator or random.fresh()).standard_normal(dtype="float32", out=parameter.data)
        parameter.data *= std


def draw_uniform(parameter: Parameter, bound: float, generator: Any = None) -> None:
    """Draw a parameter uniformly between -bound and bound."""
    if _thread.drawing:
        (generator or random.fresh()).random(dtype="float32", out=parameter.data)
        parameter.data *= 2.0
        parameter.data -= 1.0
        parameter.data *= bound


def draw_xavier(parameter: Parameter, generator: Any = None) -> None:
    """Draw a weight [out in] by the rule of `xavier_uniform`."""
    draw_uniform(parameter, math.sqrt(6.0 / sum(parameter.shape)), generator)


def _reserved(shape: tuple[int, ...]) -> Parameter:
    """Return zeros, for which the system hands out memory only when something is written."""
    xp = namespace_of(None)
    if not _thread.allocating:
        return Parameter(xp.broadcast_to(xp.zeros((), dtype=xp.float32), shape))
    parameter = Parameter(xp.zeros(shape, dtype=xp.float32))
    if not _thread.drawing:
        _thread.undrawn[id(parameter)] = parameter
    return parameter
