"""Gradients side by side: derived by hand in NumPy, and by JAX from the forward alone. Takes a few seconds.

Needs JAX: pip install 'numformer[jax]'.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

import numformer as nf
from numformer import ops

draw = np.random.default_rng(0).standard_normal
labels = np.arange(96) % 50
OPS = {
    "layer_norm": (ops.layer_norm, [draw((96, 64)), draw(64), draw(64)]),
    "cross_entropy": (lambda logits: ops.cross_entropy(logits, labels), [draw((96, 50))]),
    "attention": (lambda q, k, v: ops.attention(q, k, v, causal=True), [draw((2, 4, 48, 16)) for _ in "qkv"]),
}


def distance(function: Callable, arrays: Sequence[np.ndarray]) -> float:
    """Return how far the gradients of the summed squares of an op are apart, relative to the largest."""
    tensors = [nf.Tensor(array, requires_grad=True) for array in arrays]
    by_hand = nf.gradients((function(*tensors) ** 2).sum(), tensors)
    by_jax = jax.grad(lambda given: (function(*given) ** 2).sum())(list(arrays))
    return max(float(abs(a - b).max() / abs(a).max()) for a, b in zip(by_hand, by_jax, strict=True))


print("the largest distance between the two gradients    float32    float64")
for name, (function, arrays) in OPS.items():
    single = distance(function, [array.astype(np.float32) for array in arrays])
    with jax.enable_x64(True):
        double = distance(function, arrays)
    print(f"{name:<49} {single:.1e}    {double:.1e}")
