"""Initialisers: each returns a new float32 Parameter."""

from __future__ import annotations

import math
from typing import Any

from numformer import random
from numformer.autograd import Parameter


def normal(*shape: int, std: float, generator: Any = None) -> Parameter:
    """Draw from N(0, std²)."""
    return Parameter((generator or random.fresh()).standard_normal(shape, dtype="float32") * std)


def uniform(*shape: int, bound: float, generator: Any = None) -> Parameter:
    """Draw uniformly between -bound and bound."""
    return Parameter(((generator or random.fresh()).random(shape, dtype="float32") * 2.0 - 1.0) * bound)


def xavier_uniform(fan_out: int, fan_in: int, generator: Any = None) -> Parameter:
    """Draw a weight [out in] that keeps the variance of signals and gradients (Glorot and Bengio 2010)."""
    return uniform(fan_out, fan_in, bound=math.sqrt(6.0 / (fan_in + fan_out)), generator=generator)


def zeros(*shape: int) -> Parameter:
    """Fill with 0."""
    return Parameter.full(shape, 0.0)


def ones(*shape: int) -> Parameter:
    """Fill with 1."""
    return Parameter.full(shape, 1.0)
