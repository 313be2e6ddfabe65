"""Activation checkpointing under JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from numformer.autograd import recompute_by
from numformer.jax.gathering import running_again


@recompute_by("jax")
def recompute(function: Callable[..., Any], *inputs: Any) -> Any:
    """Run `function(*inputs)` so that JAX keeps only the inputs and runs it again for the gradient (jax.checkpoint)."""
    with running_again():
        return jax.checkpoint(function)(*inputs)


def keeping_barriers() -> dict[str, str]:
    """Return the options of XLA without which a CPU undoes `recompute`: it would find both runs to be the same.

    The pass that takes barriers away comes last elsewhere; on a CPU it comes before common subexpressions are looked for.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else {}
