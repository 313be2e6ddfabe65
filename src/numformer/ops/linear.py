"""The linear map."""

from __future__ import annotations

from typing import Any

import numpy as np

from numformer.ops.blocks import column_sum, rows
from numformer.ops.storage import load, save
from numformer.tape import needs_gradient, op


@op
def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> Any:
    """Map the last axis: x Wᵀ + b.

    x [... D], weight [F D], bias [F] -> [... F]
    """
    need_x, need_weight, need_bias = (*needs_gradient(), False)[:3]
    flat, shape = rows(x), x.shape
    y = flat @ weight.T
    kept_x, kept_weight = save(flat) if need_weight else None, weight if need_x else None
    if bias is not None:
        y += bias

    def vjp(dy: np.ndarray) -> Any:
        dy = rows(dy)
        dweight = None if kept_x is None else dy.T @ load(kept_x)
        dx = None if kept_weight is None else (dy @ kept_weight).reshape(shape)
        return (dx, dweight, column_sum(dy) if need_bias else None)[: 2 if bias is None else 3]

    return y.reshape(*shape[:-1], len(weight)), vjp
