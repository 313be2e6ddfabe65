"""What every op is under JAX, in one to five lines; JAX derives the backward pass, and so checks each of ours."""

from numformer.jax.bodies import arithmetic, attention, layers, losses, rearrangement

__all__ = ["arithmetic", "attention", "layers", "losses", "rearrangement"]
