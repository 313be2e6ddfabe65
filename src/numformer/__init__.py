"""numformer: train, fine-tune and run Transformers with NumPy alone."""

from numformer import ops
from numformer.errors import InputError
from numformer.tape import gradients, no_grad, recompute
from numformer.tensor import Parameter, Tensor

__version__ = "0.1.0"
