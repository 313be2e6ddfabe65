"""Scaled dot-product attention, in blocks of queries so that its memory grows with T and not with T².

Scores are kept transposed, keys down and queries across [.. S T]: the maximum, the sum and every broadcast of the softmax
then run along contiguous memory. With e = exp(score - max) and 1/Σe = `inv`, the weights are A = e · inv, and `inv` is
applied to the small output [.. T K] rather than to the large e. The pullback, with O = A V:

    dV = Aᵀ dO      dA = dO Vᵀ      dS = A (dA - Σ A dA) = A (dA - Σ O dO)      dQ = dS K/√K      dK = dSᵀ Q/√K

A short sequence keeps e for the pullback; a long one computes it again block by block (Dao et al. 2022, arXiv:2205.14135).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from numformer.errors import InputError
from numformer.ops.blocks import BLOCK
from numformer.ops.dropout import keep_mask
from numformer.ops.storage import load, save
from numformer.tape import op

QUERY_BLOCK = 128  # a sequence up to this length is one block
Key = tuple[int, ...]


class _Weights(NamedTuple):
    """The softmax of one block: unnormalised weights [B G R S T], 1/Σ [B G R 1 T], dropout mask and its scale."""

    e: np.ndarray
    inv: np.ndarray
    keep: np.ndarray | None
    scale: float


class _Block(NamedTuple):
    """Sequences, queries and the number of keys that those queries may see."""

    number: int
    batch: slice
    queries: slice
    num_keys: int


@op
def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    key: Key = (),
    return_weights: bool = False,
) -> Any:
    """softmax(Q Kᵀ/√K) V for every head (Vaswani et al. 2017, §3.2.1).

    q [B H T K], k [B G S K], v [B G S K], mask [B H T S] bool -> [B H T K]
    q [B H T K], k [B G S K], v [B G S K] -> [B H T K]
    q [B H T K], k [B G S K], v [B G S K] -> [B H T K], [B H T S] with return_weights=True
    q [B H T K], k [B H S K], v [B H S K] -> [B H T K] with causal=True, dropout=0.3, key=(5,)

    True in the mask means attend; a query with nothing to attend to gets zeros. `causal` lines the last query up with the
    last key: query t sees keys up to t + S - T. Each of the G key/value heads serves H/G query heads (Ainslie et al. 2023,
    arXiv:2305.13245). Dropout acts on the weights; the returned weights are those before it.
    Raises InputError when G does not divide H.
    """
    (B, H, T, K), (G, S), dtype = q.shape, k.shape[1:3], q.dtype
    if H % G:
        raise InputError(f"attention: {H} query heads cannot share {G} key/value heads evenly")
    R, scaling = H // G, 1.0 / math.sqrt(K)
    qT = np.multiply(q.reshape(B, G, R, T, K).swapaxes(-1, -2), scaling, order="C")
    k5, v5 = _packed(k)[:, :, None], _packed(v)[:, :, None]
    bias = None if mask is None else _mask_bias(mask, (B, G, R))
    out = np.empty((B, T, G, R, K), dtype).transpose(0, 2, 3, 1, 4)
    all_weights = np.zeros((B, G, R, T, S), dtype) if return_weights else None

    def weigh(block: _Block, qT: np.ndarray, k5: np.ndarray, bias: np.ndarray | None) -> _Weights:
        batch, queries, seen = block.batch, block.queries, block.num_keys
        scores = np.matmul(k5[batch, :, :, :seen], qT[batch, ..., queries])
        if causal:
            first = max(0, queries.start + S - T)  # the block's first query sees no key beyond this one
            scores[..., first:, :] += _causal_bias(queries.start, queries.stop, first, seen, S - T)
        if bias is not None:
            scores += bias[batch if len(bias) > 1 else slice(None), ..., :seen, _or_all(queries, bias.shape[-1])]
        largest = np.maximum(scores.max(axis=-2, keepdims=True), np.finfo(dtype).min)  # -inf only where all is masked
        scores -= largest
        e = np.exp(scores, out=scores)
        total = np.ones((1, seen), dtype) @ e  # at least e^0 = 1, except in a fully masked row: 0
        keep, scale = keep_mask(e.shape, dropout, (*key, block.number)) if dropout else (None, 1.0)
        return _Weights(e, 1.0 / np.maximum(total, 1.0), keep, scale)

    kept_weights: dict[int, _Weights] = {}
    for block in _cut(B, H, T, S, causal):
        batch, queries, seen = block.batch, block.queries, block.num_keys
        w = weigh(block, qT, k5, bias)
        dropped = w.e if w.keep is None else w.e * w.keep
        part = np.matmul(dropped.swapaxes(-1, -2), v5[batch, :, :, :seen], out=out[batch, ..., queries, :])
        part *= (w.inv * w.scale).swapaxes(-1, -2)
        if all_weights is not None:
            all_weights[batch, ..., queries, :seen] = (w.e * w.inv).swapaxes(-1, -2)
        if T <= QUERY_BLOCK:
            kept_weights[block.number] = w._replace(e=save(w.e))
    kept = [save(array) for array in (qT, k5, v5, out, bias)]

    def vjp(dout: np.ndarray | None, dweights: np.ndarray | None = None) -> Any:
        qT, k5, v5, out, bias = map(load, kept)
        do = (np.zeros((B, H, T, K), dtype) if dout is None else dout).reshape(B, G, R, T, K)
        dw = None if dweights is None else dweights.reshape(B, G, R, T, S)
        dq, dk, dv = (_head_major(B, G, length, K, dtype, r) for length, r in ((T, R), (S, None), (S, None)))
        for block in _cut(B, H, T, S, causal):
            batch, queries, seen = block.batch, block.queries, block.num_keys
            w = kept_weights.get(block.number) or weigh(block, qT, k5, bias)
            e = load(w.e)
            kb, vb, qb = k5[batch, :, :, :seen], v5[batch, :, :, :seen], qT[batch, ..., queries].swapaxes(-1, -2)
            do_block = do[batch, ..., queries, :] * w.inv.swapaxes(-1, -2)
            ds = np.matmul(vb, np.ascontiguousarray(do_block.swapaxes(-1, -2)))  # (dA)ᵀ · inv
            dropped = e
            if w.keep is not None:
                dropped = e * w.keep
                dropped *= w.scale
                ds *= w.keep
                ds *= w.scale
            if dw is None:
                ds -= np.vecdot(do_block, out[batch, ..., queries, :])[..., None, :]
            else:
                ds += dw[batch, ..., queries, :seen].swapaxes(-1, -2) * w.inv
                ds -= (e * ds).sum(axis=-2, keepdims=True) * w.inv
            ds *= e
            dq_block = np.matmul(ds.swapaxes(-1, -2), kb, out=dq[batch, ..., queries, :])
            dq_block *= scaling
            dk[batch, :, :seen] += _sum_groups(ds @ qb)
            dv[batch, :, :seen] += _sum_groups(dropped @ do_block)
        return dq.reshape(B, H, T, K), dk, dv, None

    result = out.reshape(B, H, T, K)
    if all_weights is None:
        return result, (lambda dout: vjp(dout)[: 3 if mask is None else 4])
    return (result, all_weights.reshape(B, H, T, S)), (lambda *dys: vjp(*dys)[: 3 if mask is None else 4])


def as_mask(mask: Any) -> np.ndarray:
    """Return a mask given as [T S], [B T S] or [B H T S], boolean or 0/1, as a boolean [B H T S]; True means attend.

    Raises InputError for numbers other than 0 and 1 (an additive mask) and for other shapes.
    """
    array = np.asarray(mask)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise InputError("an attention mask holds True (or 1) where a query may attend and False (or 0) elsewhere")
    if not 2 <= array.ndim <= 4:
        raise InputError(f"an attention mask has axes [T S], [B T S] or [B H T S], got shape {array.shape}")
    array = array.astype(np.bool_, copy=False)
    return array.reshape({2: (1, 1), 3: (len(array), 1)}.get(array.ndim, array.shape[:2]) + array.shape[-2:])


def padding_mask(ids: Any, pad_id: int) -> np.ndarray:
    """Return the mask [B 1 1 S] that keeps every query from attending to padding."""
    return (np.asarray(ids) != pad_id)[:, None, None, :]


def key_mask(real: Any) -> np.ndarray:
    """Return the mask [B 1 1 S] that keeps every query from keys where `real` [B S] is False (or 0).

    Raises InputError for another number of axes, or numbers other than 0 and 1.
    """
    array = np.asarray(real)
    if array.ndim == 4:
        return as_mask(array)
    if array.ndim != 2:
        raise InputError(f"a padding mask has axes [B S], got shape {array.shape}")
    return as_mask(array[:, None, None, :])


def causal_mask(length: int) -> np.ndarray:
    """Return the mask [T T] that lets position t attend to positions up to t."""
    return np.tri(length, dtype=np.bool_)


@op
def split_heads(x: np.ndarray, *, num_heads: int) -> Any:
    """Cut the width into heads and bring the head axis forward.

    x [B T H*K] -> [B H T K] with num_heads=H
    """
    B, T, D = x.shape
    heads = x.reshape(B, T, num_heads, D // num_heads).transpose(0, 2, 1, 3)
    return heads, lambda dy: dy.transpose(0, 2, 1, 3).reshape(B, T, D)


@op
def merge_heads(x: np.ndarray) -> Any:
    """Put the heads of each position side by side.

    x [B H T K] -> [B T H*K]
    """
    B, H, T, K = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * K), lambda dy: dy.reshape(B, T, H, K).transpose(0, 2, 1, 3)


def _cut(B: int, H: int, T: int, S: int, causal: bool) -> Iterator[_Block]:
    """Yield blocks whose scores stay near the cache: several short sequences, or some queries of a long one."""
    num_queries = min(T, QUERY_BLOCK)
    num_sequences = max(1, 2 * BLOCK // (H * S * num_queries))
    number = 0
    for first in range(0, B, num_sequences):
        for start in range(0, T, num_queries):
            stop = min(start + num_queries, T)
            num_keys = max(1, stop + S - T) if causal else S
            yield _Block(number, slice(first, first + num_sequences), slice(start, stop), num_keys)
            number += 1


def _packed(x: np.ndarray) -> np.ndarray:
    """Return x with the rows of a head adjacent in memory, where matrix products run twice as fast."""
    return x if x.strides[-2:] == (x.shape[-1] * x.itemsize, x.itemsize) else np.ascontiguousarray(x)


def _head_major(B: int, G: int, length: int, K: int, dtype: Any, R: int | None) -> np.ndarray:
    """Return zeros shaped [B G (R) T K] but laid out [B T G (R) K], so that merging heads back costs no copy."""
    if R is None:
        return np.zeros((B, length, G, K), dtype).transpose(0, 2, 1, 3)
    return np.empty((B, length, G, R, K), dtype).transpose(0, 2, 3, 1, 4)


def _sum_groups(x: np.ndarray) -> np.ndarray:
    """Sum over the query heads that share a key/value head, [B G R S K] -> [B G S K]."""
    return x[:, :, 0] if x.shape[2] == 1 else x.sum(axis=2)


def _mask_bias(mask: np.ndarray, groups: tuple[int, int, int]) -> np.ndarray:
    """Turn a mask [B H T S], any axis of which may be 1, into what is added to transposed scores [B G R S T]."""
    B, H, T, S = mask.shape
    G, R = (1, 1) if H == 1 else groups[1:]
    bias = np.where(mask, np.float32(0.0), np.float32(-np.inf)).reshape(B, G, R, T, S)
    return np.ascontiguousarray(bias.swapaxes(-1, -2))


@functools.lru_cache(maxsize=64)
def _causal_bias(first_query: int, stop_query: int, first_key: int, stop_key: int, offset: int) -> np.ndarray:
    """Return [S T]: -inf where a key in first_key..stop_key lies after the last one that a query may see."""
    keys, last_seen = np.arange(first_key, stop_key)[:, None], np.arange(first_query, stop_query) + offset
    return np.where(keys > last_seen, np.float32(-np.inf), np.float32(0.0))


def _or_all(wanted: slice, length: int) -> slice:
    return slice(None) if length == 1 else wanted
