"""Normalisation of the last axis.

Both pullbacks follow from y = weight · x̂ + bias with x̂ = (x - m)/s: writing g = weight · dy, the gradient of x is
(g - mean(g) - x̂ mean(g x̂))/s. The term mean(g) exists because m depends on x, the last one because s does; RMSNorm has
no m, hence no mean(g).
"""

from __future__ import annotations

import math

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.autograd.blocks import blocks, column_sum, rows
from numformer.autograd.storage import load, save
from numformer.ops.arithmetic import as_float


@op
def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, need: Need, eps: float = 1e-5) -> Result:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift (Ba et al. 2016, arXiv:1607.06450).

    x [... D], weight [D], bias [D] -> [... D]
    """
    x2, shape = rows(as_float(x)), x.shape
    num_rows, width = x2.shape
    if num_rows == 1 and width and not any(need):  # a new token, for which the number of calls is what counts
        y = x2 - float(np.add.reduce(x2[0])) / width
        y *= 1.0 / math.sqrt(float(np.vecdot(y, y)[0]) / width + eps)
        y *= weight
        y += bias
        return y.reshape(shape), None
    xhat, y = np.empty_like(x2), np.empty_like(x2)
    inv_std = np.empty((num_rows, 1), x2.dtype)
    average = np.full(width, 1.0 / max(1, width), x2.dtype)
    for part in blocks(num_rows, width):
        centred = np.subtract(x2[part], (x2[part] @ average)[:, None], out=xhat[part])
        variance = np.vecdot(centred, centred)[:, None] / max(1, width)
        inv_std[part] = 1.0 / np.sqrt(variance + eps)
        centred *= inv_std[part]
        np.multiply(centred, weight, out=y[part])
        y[part] += bias
    kept = save(xhat, need)

    def vjp(dy: np.ndarray) -> Gradients:
        dy, xhat = rows(dy), load(kept)
        dx, dweight = np.empty_like(dy), np.zeros_like(weight)
        mean_weight = weight / max(1, width)
        for part in blocks(num_rows, width):
            product = dy[part] * xhat[part]
            dweight += column_sum(product)  # Σ dy x̂ over all positions
            g = np.multiply(dy[part], weight, out=dx[part])  # g = weight · dy
            g -= (dy[part] @ mean_weight)[:, None]  # less mean(g), through the mean
            g -= np.multiply(xhat[part], (product @ mean_weight)[:, None], out=product)  # less x̂ mean(g x̂), through s
            g *= inv_std[part]  # all over s
        return dx.reshape(shape), dweight, column_sum(dy)  # dbias = Σ dy over all positions

    return y.reshape(shape), vjp


@op
def rms_norm(x: np.ndarray, weight: np.ndarray, *, need: Need, eps: float = 1e-6) -> Result:
    """Divide the last axis by its root mean square, then scale (Zhang and Sennrich 2019, arXiv:1910.07467).

    x [... D], weight [D] -> [... D]
    """
    x2, shape = rows(as_float(x)), x.shape
    num_rows, width = x2.shape
    if num_rows == 1 and width and not any(need):  # a new token, for which the number of calls is what counts
        y = x2 * (1.0 / math.sqrt(float(np.vecdot(x2, x2)[0]) / width + eps))
        y *= weight
        return y.reshape(shape), None
    xhat, y = np.empty_like(x2), np.empty_like(x2)
    inv_rms = np.empty((num_rows, 1), x2.dtype)
    for part in blocks(num_rows, width):
        square = np.vecdot(x2[part], x2[part])[:, None] / max(1, width)
        inv_rms[part] = 1.0 / np.sqrt(square + eps)
        np.multiply(x2[part], inv_rms[part], out=xhat[part])
        np.multiply(xhat[part], weight, out=y[part])
    kept = save(xhat, need)

    def vjp(dy: np.ndarray) -> Gradients:
        dy, xhat = rows(dy), load(kept)
        dx, dweight = np.empty_like(dy), np.zeros_like(weight)
        mean_weight = weight / max(1, width)
        for part in blocks(num_rows, width):
            product = dy[part] * xhat[part]
            dweight += column_sum(product)  # Σ dy x̂ over all positions
            g = np.multiply(dy[part], weight, out=dx[part])  # g = weight · dy
            g -= np.multiply(xhat[part], (product @ mean_weight)[:, None], out=product)  # less x̂ mean(g x̂), through s
            g *= inv_rms[part]  # all over s
        return dx.reshape(shape), dweight

    return y.reshape(shape), vjp
