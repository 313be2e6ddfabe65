"""Scaled dot-product attention, in blocks of queries so that its memory grows with T and not with T².

Scores are kept transposed, keys down and queries across [.. S T]: the maximum, the sum and every broadcast of the softmax
then run along contiguous memory. With e = exp(score - max) and 1/Σe = `inv`, the weights are A = e · inv, and `inv` is
applied to the small output [.. T K] rather than to the large e. The pullback, with O = A V:

    dV = Aᵀ dO      dA = dO Vᵀ      dS = A (dA - Σ A dA) = A (dA - Σ O dO)      dQ = dS K/√K      dK = dSᵀ Q/√K

where S are the scores with everything that was added to them, so dS is the gradient of an additive bias too. A soft cap
acts before anything is added: its slope 1 - tanh² is taken from scores computed anew, since e took the place of the first.

A short sequence keeps e for the pullback; a long one computes it again block by block (Dao et al. 2022, arXiv:2205.14135).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.autograd.blocks import BLOCK
from numformer.autograd.storage import load, save
from numformer.errors import InputError
from numformer.ops.dropout import keep_mask

QUERY_BLOCK = 128  # a sequence up to this length is one block
Key = tuple[int, ...]


class _Weights(NamedTuple):
    """The softmax of one block: unnormalised weights [B G R S T], 1/Σ [B G R 1 T], dropout mask and its scale."""

    e: np.ndarray
    inv: np.ndarray
    keep: np.ndarray | None
    scale: float


class _Block(NamedTuple):
    """Sequences, queries and the keys that those queries may see."""

    number: int
    batch: slice
    queries: slice
    keys: slice


@op
def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    need: Need,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    dropout: float = 0.0,
    key: Key = (),
    return_weights: bool = False,
) -> Result:
    """softmax(Q Kᵀ/√K + bias) V for every head (Vaswani et al. 2017, §3.2.1).

    q [B H T K], k [B G S K], v [B G S K], mask [B H T S] bool -> [B H T K]
    q [B H T K], k [B G S K], v [B G S K], mask [B H T S] bool, bias [B H T S] or 1 -> [B H T K] with scale=0.7
    q [B H T K], k [B G S K], v [B G S K] -> [B H T K] with causal=True, window=3
    q [B H T K], k [B G S K], v [B G S K], mask [B H T S] bool, bias [B H T S] or 1 -> [B H T K] with soft_cap=1.5
    q [B H T K], k [B G S K], v [B G S K] -> [B H T K]
    q [B H T K], k [B G S K], v [B G S K] -> [B H T K], [B H T S] with return_weights=True
    q [B H T K], k [B H S K], v [B H S K] -> [B H T K] with causal=True, dropout=0.3, key=(5,)

    True in the mask means attend; a query with nothing to attend to gets zeros. `causal` lines the last query up with the
    last key: query t sees keys up to t + S - T, and with `window` only the last so many of them (Beltagy et al. 2020,
    arXiv:2004.05150). `bias` is added to the scores (Raffel et al. 2020, arXiv:1910.10683, §2.1), whose factor is 1/√K
    unless `scale` is given; with `soft_cap` they are pressed into -soft_cap..soft_cap before (Gemma Team 2024,
    arXiv:2408.00118). Each of the G key/value heads serves H/G query heads (Ainslie et al. 2023,
    arXiv:2305.13245). Dropout acts on the weights; the returned weights are those before it.
    Raises InputError when G does not divide H, for a window without `causal` or below 1, and a cap that is not above 0.
    """
    (B, H, T, K), (G, S), dtype = q.shape, k.shape[1:3], q.dtype
    check_settings(H, G, causal, window, soft_cap)
    R, scaling = H // G, 1.0 / math.sqrt(max(1, K)) if scale is None else scale
    is_plain = mask is None and bias is None and soft_cap is None and not (dropout or return_weights or any(need))
    if T == 1 and is_plain and S and (window is None or S <= window):
        return _one_query(q.reshape(B, G, R, K) * dtype.type(scaling), k, v).reshape(q.shape), None
    qT = np.multiply(q.reshape(B, G, R, T, K).swapaxes(-1, -2), scaling, order="C")
    k5, v5 = _packed(k)[:, :, None], _packed(v)[:, :, None]
    hidden = None if mask is None else _transposed(np.where(mask, np.float32(0.0), np.float32(-np.inf)), G, R)
    added = None if bias is None else _transposed(bias.astype(dtype, copy=False), G, R)
    out = np.empty((B, T, G, R, K), dtype).transpose(0, 2, 3, 1, 4)
    all_weights = np.zeros((B, G, R, T, S), dtype) if return_weights else None

    def weigh(block: _Block, qT: np.ndarray, k5: np.ndarray, hidden: Any, added: Any) -> _Weights:
        batch, queries, seen = block.batch, block.queries, block.keys
        scores = np.matmul(k5[batch, :, :, seen], qT[batch, ..., queries])
        if soft_cap is not None:
            scores = soft_cap * _tanh_of(scores, soft_cap)
        if causal and T > 1:  # a lone query sees all of its keys
            last = queries.start + S - T  # that the first query sees; without a window it sees all before that, too
            first = seen.start if window is not None else max(0, last)
            bias = _causal_bias(first - last, seen.stop - last, queries.stop - queries.start, window)
            scores[..., first - seen.start :, :] += bias
        for part in (hidden, added):
            if part is not None:
                scores += part[_of_block(part, block)]
        largest = scores.max(axis=-2, keepdims=True, initial=-np.inf)
        largest = np.maximum(largest, np.finfo(dtype).min)  # -inf only where all is masked
        scores -= largest
        e = np.exp(scores, out=scores)
        total = np.ones((1, e.shape[-2]), dtype) @ e  # at least e^0 = 1, except in a fully masked row: 0
        keep, scale = keep_mask(e.shape, dropout, (*key, block.number)) if dropout else (None, 1.0)
        return _Weights(e, 1.0 / np.maximum(total, 1.0), keep, scale)

    kept_weights: dict[int, _Weights] = {}
    for block in _cut(B, H, T, S, causal, window):
        batch, queries, seen = block.batch, block.queries, block.keys
        w = weigh(block, qT, k5, hidden, added)
        dropped = w.e if w.keep is None else w.e * w.keep
        part = np.matmul(dropped.swapaxes(-1, -2), v5[batch, :, :, seen], out=out[batch, ..., queries, :])
        part *= (w.inv * w.scale).swapaxes(-1, -2)
        if all_weights is not None:
            all_weights[batch, ..., queries, seen] = (w.e * w.inv).swapaxes(-1, -2)
        if T <= QUERY_BLOCK:
            kept_weights[block.number] = w._replace(e=save(w.e, need))
    kept = [save(array, need) for array in (qT, k5, v5, out, hidden, added)]

    def vjp(dout: np.ndarray | None, dweights: np.ndarray | None = None) -> Gradients:
        qT, k5, v5, out, hidden, added = map(load, kept)
        do = (np.zeros((B, H, T, K), dtype) if dout is None else dout).reshape(B, G, R, T, K)
        dw = None if dweights is None else dweights.reshape(B, G, R, T, S)
        dadded = np.zeros(added.shape, dtype) if need[4] else None
        dq, dk, dv = (_head_major(B, G, length, K, dtype, r) for length, r in ((T, R), (S, None), (S, None)))
        for block in _cut(B, H, T, S, causal, window):
            batch, queries, seen = block.batch, block.queries, block.keys
            w = kept_weights.get(block.number) or weigh(block, qT, k5, hidden, added)
            e = load(w.e)
            kb, vb, qb = k5[batch, :, :, seen], v5[batch, :, :, seen], qT[batch, ..., queries].swapaxes(-1, -2)
            do_block = do[batch, ..., queries, :] * w.inv.swapaxes(-1, -2)
            ds = np.matmul(vb, np.ascontiguousarray(do_block.swapaxes(-1, -2)))  # dA = dO Vᵀ, transposed and times inv
            dropped = e
            if w.keep is not None:  # through dropout: what was dropped passes nothing on, the rest `scale`
                dropped = e * w.keep
                dropped *= w.scale
                ds *= w.keep
                ds *= w.scale
            if dw is None:
                ds -= np.vecdot(do_block, out[batch, ..., queries, :])[..., None, :]  # less Σ A dA = Σ O dO
            else:
                ds += dw[batch, ..., queries, seen].swapaxes(-1, -2) * w.inv  # what the weights were used for besides
                ds -= (e * ds).sum(axis=-2, keepdims=True) * w.inv  # less Σ A dA
            ds *= e  # dS = A (dA - Σ A dA)
            if dadded is not None:
                at = _of_block(dadded, block)
                dadded[at] += _sum_to(ds, dadded[at].shape)  # the bias was added to S: dbias = dS
            if soft_cap is not None:
                ds *= 1.0 - np.square(_tanh_of(np.matmul(kb, qT[batch, ..., queries]), soft_cap))  # through the cap
            dq_block = np.matmul(ds.swapaxes(-1, -2), kb, out=dq[batch, ..., queries, :])
            dq_block *= scaling  # dQ = dS K/√K
            dk[batch, :, seen] += _sum_groups(ds @ qb)  # dK = dSᵀ Q/√K; qb holds Q/√K
            dv[batch, :, seen] += _sum_groups(dropped @ do_block)  # dV = Aᵀ dO
        dbias = None if dadded is None or bias is None else dadded.swapaxes(-1, -2).reshape(bias.shape)
        return dq.reshape(B, H, T, K), dk, dv, None, dbias

    result = out.reshape(B, H, T, K)
    return (result if all_weights is None else (result, all_weights.reshape(B, H, T, S))), vjp


@op
def split_heads(x: np.ndarray, *, num_heads: int) -> Result:
    """Cut the width into heads and bring the head axis forward.

    x [B T H*K] -> [B H T K] with num_heads=H
    """
    B, T, D = x.shape
    heads = x.reshape(B, T, num_heads, D // num_heads).transpose(0, 2, 1, 3)
    return heads, lambda dy: dy.transpose(0, 2, 1, 3).reshape(B, T, D)


@op
def merge_heads(x: np.ndarray) -> Result:
    """Put the heads of each position side by side.

    x [B H T K] -> [B T H*K]
    """
    B, H, T, K = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * K), lambda dy: dy.reshape(B, T, H, K).transpose(0, 2, 1, 3)


def check_settings(H: int, G: int, causal: bool, window: int | None, soft_cap: float | None) -> None:
    """Raise InputError as `attention` does, for its numbers of heads and its settings."""
    if not G or H % G:
        raise InputError(f"attention: {H} query heads cannot share {G} key/value heads evenly")
    if window is not None and (window < 1 or not causal):
        raise InputError(f"attention: a window must be at least 1 and needs causal=True, got {window}, causal={causal}")
    if soft_cap is not None and not soft_cap > 0.0:
        raise InputError(f"attention: a soft cap must be above 0, got {soft_cap}")


def _one_query(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Let the R queries of every group see all keys, [B G R K]: for a new token this takes half the time of the blocks."""
    weights = q @ k.swapaxes(-1, -2)
    weights -= np.maximum.reduce(weights, axis=-1, keepdims=True)  # the method of arrays takes longer to begin
    np.exp(weights, out=weights)
    weights /= np.add.reduce(weights, axis=-1, keepdims=True)
    return weights @ v


def _cut(B: int, H: int, T: int, S: int, causal: bool, window: int | None = None) -> Iterator[_Block]:
    """Yield blocks whose scores stay near the cache: several short sequences, or some queries of a long one."""
    num_queries = max(1, min(T, QUERY_BLOCK))
    num_keys = S if window is None else min(S, window + num_queries)
    num_sequences = max(1, 2 * BLOCK // max(1, H * num_keys * num_queries))
    number = 0
    for first in range(0, B, num_sequences):
        for start in range(0, T, num_queries):
            stop = min(start + num_queries, T)
            first_key = 0 if window is None else max(0, start + S - T + 1 - window)
            stop_key = min(S, max(1, stop + S - T)) if causal else S
            yield _Block(number, slice(first, first + num_sequences), slice(start, stop), slice(first_key, stop_key))
            number += 1


def _tanh_of(scores: np.ndarray, cap: float) -> np.ndarray:
    """Return tanh(scores/cap), in the memory of the scores."""
    scores *= 1.0 / cap
    return np.tanh(scores, out=scores)


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


def _transposed(x: np.ndarray, G: int, R: int) -> np.ndarray:
    """Lay out [B H T S], any axis of which may be 1, as what is added to transposed scores, [B G R S T]."""
    B, H, T, S = x.shape
    groups = (1, 1) if H == 1 else (G, R)
    return np.ascontiguousarray(x.reshape(B, *groups, T, S).swapaxes(-1, -2))


def _of_block(part: np.ndarray, block: _Block) -> tuple[Any, ...]:
    """Return the index of a block in [B G R S T], any axis of which may be 1."""
    wanted = (block.batch, slice(None), slice(None), block.keys, block.queries)
    return tuple(slice(None) if length == 1 else at for at, length in zip(wanted, part.shape, strict=True))


def _sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes along which an array of that shape was repeated."""
    repeated = tuple(axis for axis, length in enumerate(shape) if length == 1 and x.shape[axis] != 1)
    return x.sum(axis=repeated, keepdims=True) if repeated else x


@functools.lru_cache(maxsize=64)
def _causal_bias(first_key: int, stop_key: int, num_queries: int, window: int | None) -> np.ndarray:
    """Return [S T]: -inf where a key lies after its query, or too far before; the first query is at position 0."""
    keys, queries = np.arange(first_key, stop_key)[:, None], np.arange(num_queries)
    hidden = keys > queries if window is None else (keys > queries) | (keys <= queries - window)
    return np.where(hidden, np.float32(-np.inf), np.float32(0.0))
