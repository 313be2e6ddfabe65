"""Activation checkpointing under JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from numformer.autograd import recompute_by


@recompute_by("jax")
def recompute(function: Callable[..., Any], *inputs: Any) -> Any:
    """Run `function(*inputs)` so that JAX keeps only the inputs and runs it again for the gradient (jax.checkpoint)."""
    return jax.checkpoint(function)(*inputs)
