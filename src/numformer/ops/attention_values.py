"""The second half of attention as an op of its own: for those who look at its weights, or put others in their place."""

from __future__ import annotations

from typing import Any

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.autograd.storage import load, save
from numformer.autograd.tensor import Tensor
from numformer.errors import InputError
from numformer.ops.attention import Key, _cut
from numformer.ops.dropout import keep_mask


@op
def attention_values(
    weights: np.ndarray,
    v: np.ndarray,
    *,
    need: Need,
    causal: bool = False,
    window: int | None = None,
    dropout: float = 0.0,
    key: Key = (),
    computed: tuple[Any, Any] | None = None,
) -> Result:
    """Average values by attention weights, O = A V (Vaswani et al. 2017, §3.2.1).

    weights [B H T S], v [B G S K] -> [B H T K]
    weights [B H T S], v [B H S K] -> [B H T K] with causal=True, dropout=0.3, key=(5,)

    `attention` does the same at the end, and with its `causal`, `window`, `dropout` and `key` the same weights are dropped
    here. Its result is (O, A); where it is given as `computed` and A are these very weights, O is taken over, bit for bit.
    Raises InputError when G does not divide H.
    """
    (B, H, T, S), (G, K), dtype = weights.shape, (v.shape[1], v.shape[3]), weights.dtype
    check_groups(H, G)
    R = H // G
    factor = dropped(B, G, R, T, S, causal, window, dropout, key, dtype) if dropout else None
    a = weights.reshape(B, G, R, T, S)
    a = a if factor is None else a * factor
    known, known_weights = (x.data if isinstance(x, Tensor) else x for x in computed or (None, None))
    out = known if known_weights is weights else np.matmul(a, v[:, :, None]).reshape(B, H, T, K)
    kept_a, kept_v = save(a, need), save(v, need)

    def vjp(dout: np.ndarray) -> Gradients:
        do, a, v = dout.reshape(B, G, R, T, K), load(kept_a), load(kept_v)
        da = np.matmul(do, v[:, :, None].swapaxes(-1, -2))  # dA = dO Vᵀ
        if factor is not None:
            da *= factor  # through dropout: what was dropped passes nothing on, the rest its scale
        dv = np.matmul(a.swapaxes(-1, -2), do).sum(axis=2)  # dV = Aᵀ dO, over the heads that share the values
        return da.reshape(B, H, T, S), dv

    return out, vjp


def check_groups(H: int, G: int) -> None:
    """Raise InputError unless G heads of values can be shared by H heads of weights."""
    if not G or H % G:
        raise InputError(f"attention_values: {H} heads of weights cannot share {G} heads of values evenly")


def dropped(
    B: int, G: int, R: int, T: int, S: int, causal: bool, window: int | None, p: float, key: Key, dtype: Any
) -> np.ndarray:
    """Return what `attention` multiplies its weights by, [B G R T S]: 0 or the scale; it draws block by block."""
    factor = np.zeros((B, G, R, T, S), dtype)
    for block in _cut(B, G * R, T, S, causal, window):
        part = factor[block.batch, ..., block.queries, block.keys].swapaxes(-1, -2)
        keep, scale = keep_mask(part.shape, p, (*key, block.number))
        part[...] = keep * dtype.type(scale)
    return factor
