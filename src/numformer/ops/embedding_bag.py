"""Looking up several rows of a table for one position, and adding them."""

from __future__ import annotations

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.ops.embedding import check_ids, scatter_rows


@op
def embedding_bag(ids: np.ndarray, weight: np.ndarray, *, need: Need, padding_id: int | None = None) -> Result:
    """Sum the rows of `weight` that the ids of one position name (Bojanowski et al. 2017, arXiv:1607.04606).

    ids [B T C] < V, weight [V D] -> [B T D]

    An id equal to `padding_id` stands for no row. Raises InputError for an id outside 0..V-1.
    """
    check_ids(ids, len(weight))
    B, T, C = ids.shape
    _, need_weight = need
    num_rows, width = weight.shape
    flat = ids.reshape(B * T, C).copy()  # the caller's buffer may hold other ids by the backward pass
    y = np.zeros((B * T, width), weight.dtype)
    for column in flat.T:
        rows = weight[column]
        if padding_id is not None:
            rows[column == padding_id] = 0.0
        y += rows

    def vjp(dy: np.ndarray) -> Gradients:
        if not need_weight:
            return None, None
        # Each of the C rows that were added up for a position gets that position's gradient.
        dweight = scatter_rows(flat.ravel(), dy.reshape(B * T, width), num_rows, repeats=C)
        if padding_id is not None:
            dweight[padding_id] = 0.0  # it stood for no row
        return None, dweight

    return y.reshape(B, T, width), vjp
