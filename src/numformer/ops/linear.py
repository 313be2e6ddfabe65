"""The linear map."""

from __future__ import annotations

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.autograd.blocks import column_sum, rows
from numformer.autograd.storage import load, save
from numformer.ops.arithmetic import as_float


@op
def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, *, need: Need) -> Result:
    """Map the last axis: x Wᵀ + b.

    x [... D], weight [F D], bias [F] -> [... F]
    """
    need_x, need_weight, need_bias = need
    flat, shape = rows(as_float(x)), x.shape
    y = flat @ weight.T
    kept_x, kept_weight = save(flat, need) if need_weight else None, weight if need_x else None
    if bias is not None:
        y += bias

    def vjp(dy: np.ndarray) -> Gradients:
        dy = rows(dy)
        dx = None if kept_weight is None else (dy @ kept_weight).reshape(shape)  # dY W
        dweight = None if kept_x is None else dy.T @ load(kept_x)  # dYᵀ X
        dbias = column_sum(dy) if need_bias else None  # Σ dY over all positions
        return dx, dweight, dbias

    return y.reshape(*shape[:-1], len(weight)), vjp
