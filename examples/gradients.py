"""Gradients: every layer's derivative can be asked for, compared with differences, and written by hand. Takes a second."""

import numpy as np

import numformer as nf
from numformer.autograd import op
from numformer.testing import check_gradients

rng = np.random.default_rng(0)
x, dy = rng.standard_normal((2, 3, 5, 16))  # inputs [B T D], and the gradient of some loss L by the outputs

# A layer on its own: the call remembers what it needs, and `backward` turns dL/dy into dL/dx and dL/dweights.
layer = nf.nn.MultiHeadAttention(d_model=16, num_heads=4, generator=rng).astype(np.float64)
y, weights = layer(x)  # [B T D] and, for whoever wants to look at them, [B H T S]
dx = layer.backward(dy)
print("dL/dx has the shape", dx.shape, "and the parameters got")
for name, parameter in layer.named_parameters():
    print(f"  {name:<15} {parameter.grad.shape!s:<8}  of norm {np.linalg.norm(parameter.grad):.3f}")
print("(the bias of the keys shifts all scores of a query alike, which the softmax does not see)")

# The same derivative by moving one input a little, with L = sum(dy * y).
step = np.zeros_like(x)
step[1, 2, 3] = 1e-6
with nf.no_grad():
    above, below = (float((dy * layer(x + sign * step, need_weights=False)[0].data).sum()) for sign in (1, -1))
print(f"dL/dx[1, 2, 3]: derived {dx[1, 2, 3]:.9f}, by differences {(above - below) / 2e-6:.9f}")


# An op of your own: a value, and what turns the gradient of the value into the gradient of the argument.
@op
def softplus(x: np.ndarray) -> tuple:
    """Return log(1 + eˣ), whose derivative is 1 / (1 + e⁻ˣ).

    x [...] -> [...]
    """
    return np.logaddexp(0.0, x), lambda dy: dy / (1.0 + np.exp(-x))


check_gradients(softplus, x)
check_gradients(lambda x: softplus(layer(x)[0]), x, parameters=list(layer.parameters()))
print("softplus: the gradient agrees, alone and after attention")
