"""Gradient clipping by the global norm (Pascanu et al. 2013, arXiv:1211.5063)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from numformer.autograd import Parameter


def global_norm(gradient: np.ndarray) -> float:
    """Return the Euclidean norm of a flat gradient [N]."""
    return math.sqrt(float(np.dot(gradient, gradient)))


def clip_factor(norm: float, max_norm: float) -> float:
    """Return what to multiply a gradient by so that its norm does not exceed `max_norm`."""
    return min(1.0, max_norm / (norm + 1e-6))


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale the `.grad` of all parameters together to norm `max_norm` at most, and return the norm before."""
    present = [p for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(global_norm(p.grad.reshape(-1)) ** 2 for p in present if p.grad is not None))
    factor = clip_factor(norm, max_norm)
    for parameter in present:
        parameter.grad = np.multiply(parameter.grad, factor)  # type: ignore[arg-type]
    return norm
