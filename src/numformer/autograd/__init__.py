"""Automatic differentiation: the graph of a computation, tensors, ops with hand-derived pullbacks, and what they keep.

From the ground up: `mode` and `array` know nothing of the others; `graph` holds nodes and the walk; `tensor` stands on it
and on `operators` and `conversions`, which are its methods; the decorator `op` stands on both, and `storage` and
`recompute` on all.
"""

from numformer.autograd.array import Array, ArrayLike, kind_of, namespace_of
from numformer.autograd.decorator import Gradients, Need, Op, Result, op
from numformer.autograd.mode import evaluating, inference, is_evaluating, is_recording, is_watched, no_grad
from numformer.autograd.operators import OPS
from numformer.autograd.recompute import recompute, recompute_by
from numformer.autograd.storage import Precision, load, precision, save, storage
from numformer.autograd.tensor import Parameter, Tensor, gradients, placeholder

__all__ = [
    "OPS",
    "Array",
    "ArrayLike",
    "Gradients",
    "Need",
    "Op",
    "Parameter",
    "Precision",
    "Result",
    "Tensor",
    "evaluating",
    "gradients",
    "inference",
    "is_evaluating",
    "is_recording",
    "is_watched",
    "kind_of",
    "load",
    "namespace_of",
    "no_grad",
    "op",
    "placeholder",
    "precision",
    "recompute",
    "recompute_by",
    "save",
    "storage",
]
