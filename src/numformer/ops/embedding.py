"""Looking up rows of a table."""

from __future__ import annotations

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.errors import InputError

ONE_HOT_LIMIT = 256  # up to this many rows a product with a one-hot matrix beats sorting the ids


@op
def embedding(ids: np.ndarray, weight: np.ndarray, *, need: Need, padding_id: int | None = None) -> Result:
    """Take the rows of `weight` that `ids` name; a repeated id gets the sum of its gradients.

    ids [B T] < V, weight [V D] -> [B T D]
    ids [T] < V, weight [V D] -> [T D]

    The row of `padding_id` gets no gradient. Raises InputError for an id outside 0..V-1.
    """
    check_ids(ids, len(weight))
    _, need_weight = need
    num_rows, width = weight.shape
    kept_ids = ids.copy() if need_weight else None  # the caller's buffer may hold other ids by then

    def vjp(dy: np.ndarray) -> Gradients:
        if kept_ids is None:
            return None, None
        # Row v gets the sum of dy over the positions whose id is v.
        dweight = scatter_rows(kept_ids.ravel(), dy.reshape(kept_ids.size, width), num_rows)
        if padding_id is not None:
            dweight[padding_id] = 0.0  # the row of padding is not learned
        return None, dweight

    return weight[ids], vjp


def check_ids(ids: np.ndarray, vocab_size: int) -> None:
    """Raise InputError for an id outside the vocabulary."""
    if ids.size and not (0 <= ids.min() and ids.max() < vocab_size):
        raise InputError(f"token ids run from {ids.min()} to {ids.max()}, but the vocabulary has {vocab_size} tokens")


def scatter_rows(ids: np.ndarray, dy: np.ndarray, num_rows: int, repeats: int = 1) -> np.ndarray:
    """Sum the rows of dy [N D] that share an id into a table [V D]; each row of dy has `repeats` ids in a row."""
    if num_rows <= ONE_HOT_LIMIT and repeats == 1:
        one_hot = np.zeros((len(ids), num_rows), dy.dtype)
        one_hot[np.arange(len(ids)), ids] = 1.0
        return one_hot.T @ dy
    table = np.zeros((num_rows, dy.shape[1]), dy.dtype)
    if len(ids):
        order = np.argsort(ids, kind="stable")
        starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
        table[ids[order][starts]] = np.add.reduceat(dy[order // repeats], starts, axis=0)
    return table
