"""The same models under JAX: a body for every op, which JAX compiles and differentiates itself.

It is imported by the first op that is given an array of JAX, and nothing else in the library imports jax. A model becomes a
pure function of its parameters by `model.bind(params)`; a function with dropout takes a key, and runs the model inside
`keyed(key)`.
"""

from numformer.jax import _available as _available
from numformer.jax import bodies as bodies
from numformer.jax import rows as rows
from numformer.jax.keys import keyed
from numformer.jax.recompute import recompute

__all__ = ["keyed", "recompute"]
