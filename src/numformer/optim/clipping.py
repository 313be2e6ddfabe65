"""Gradient clipping by the global norm (Pascanu et al. 2013, arXiv:1211.5063)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from numformer.autograd import Parameter
from numformer.errors import InputError


def global_norm(gradient: np.ndarray) -> float:
    """Return the Euclidean norm of a flat gradient [N], also where the sum of squares is too large for its dtype."""
    with np.errstate(over="ignore"):
        norm = math.sqrt(float(np.dot(gradient, gradient)))
    if norm != math.inf:
        return norm
    largest = float(np.abs(gradient).max())
    if largest == math.inf:
        return largest
    shrunk = gradient / largest
    return largest * math.sqrt(float(np.dot(shrunk, shrunk)))


def clip_factor(norm: float, max_norm: float) -> float:
    """Return what to multiply a gradient of this norm by so that it does not exceed `max_norm`: 1 or less."""
    return min(1.0, max_norm / (norm + 1e-6))


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale the `.grad` of all parameters together to norm `max_norm` at most, and return the norm before.

    Frozen parameters are left out, whatever an earlier backward pass left in them.
    With a gradient that is not finite the norm is nan or inf, and all gradients stay as they are: the caller decides.
    Raises InputError for a `max_norm` that is negative or no number.
    """
    if not isinstance(max_norm, (int, float, np.number)) or not max_norm >= 0:
        raise InputError(f"max_norm must be a number of at least 0, got {max_norm!r}")
    present = [p for p in parameters if p.grad is not None and p.requires_grad]
    norms = [global_norm(p.grad.reshape(-1)) for p in present if p.grad is not None]
    norm = math.hypot(*norms)
    if math.isfinite(norm):
        factor = clip_factor(norm, max_norm)
        for parameter in present:
            parameter.grad = np.multiply(parameter.grad, factor)  # type: ignore[arg-type]
    return norm
