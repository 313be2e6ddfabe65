"""Attention, by jax.nn.dot_product_attention where it does all that is asked for."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from numformer import ops
from numformer.jax.keys import factors
from numformer.ops.attention import check_settings
from numformer.ops.attention_values import check_groups, dropped


@ops.attention.jax
def _(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    bias: Any = None,
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    dropout: float = 0.0,
    key: tuple[Any, ...] = (),
    return_weights: bool = False,
) -> Any:
    check_settings(q.shape[1], k.shape[1], causal, window, soft_cap)
    (T, K), S = q.shape[2:], k.shape[2]
    scale = 1.0 / math.sqrt(max(1, K)) if scale is None else scale
    allowed = _allowed(mask, T, S, causal, window)
    is_plain = soft_cap is None and not dropout and not return_weights
    if is_plain and S and q.dtype != jnp.float64:  # whose softmax it rounds to float32
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
        if causal and mask is None and window is None and T == S:
            return jax.nn.dot_product_attention(q, k, v, bias, scale=scale, is_causal=True).swapaxes(1, 2)
        out = jax.nn.dot_product_attention(q, k, v, bias, allowed, scale=scale).swapaxes(1, 2)
        return out if allowed is None else jnp.where(allowed.any(axis=-1, keepdims=True), out, 0.0)
    weights = _weights(q * scale, k, bias, allowed, soft_cap)
    out = _values(weights, v, causal, window, dropout, key)
    return (out, weights) if return_weights else out


@ops.attention_values.jax
def _(
    weights: Any,
    v: Any,
    *,
    causal: bool = False,
    window: int | None = None,
    dropout: float = 0.0,
    key: tuple[Any, ...] = (),
    computed: tuple[Any, Any] | None = None,
) -> Any:
    check_groups(weights.shape[1], v.shape[1])
    out, known = computed or (None, None)
    return out if known is weights else _values(weights, v, causal, window, dropout, key)


def _allowed(mask: Any, T: int, S: int, causal: bool, window: int | None) -> Any:
    """Return what queries may attend to, [B H T S], any axis of which may be 1; None where nothing is hidden."""
    if not causal:
        return mask
    last, at = jnp.arange(S - T, S)[:, None], jnp.arange(S)
    seen = (at <= last if window is None else (at <= last) & (at > last - window))[None, None]
    return seen if mask is None else mask & seen


def _weights(q: Any, k: Any, bias: Any, allowed: Any, soft_cap: float | None) -> Any:
    """Return the softmax of the scores of scaled queries, [B H T S]; zeros for a query that may attend to nothing.

    It is computed in float32 where queries are of lower precision, as jax.nn.dot_product_attention does.
    """
    products = jnp.matmul(
        _grouped(q, k.shape[1]),
        k[:, :, None].swapaxes(-1, -2),
        preferred_element_type=jnp.promote_types(q.dtype, jnp.float32),
    )
    scores = products.reshape(*q.shape[:3], k.shape[2])
    scores = scores if soft_cap is None else soft_cap * jnp.tanh(scores / soft_cap)
    scores = scores if bias is None else scores + bias
    if allowed is None:
        return jax.nn.softmax(scores).astype(q.dtype)
    lowest = jnp.finfo(scores.dtype).min  # type: ignore[no-untyped-call]  # not -inf: a row of them would be NaN
    return jnp.where(allowed, jax.nn.softmax(jnp.where(allowed, scores, lowest)), 0.0).astype(q.dtype)


def _values(weights: Any, v: Any, causal: bool, window: int | None, dropout: float, key: tuple[Any, ...]) -> Any:
    """Return the averages of the values by weights, some of which are dropped, [B H T K]."""
    (B, H, T, S), (G, K) = weights.shape, (v.shape[1], v.shape[3])

    def by_numbers() -> Any:
        return dropped(B, G, H // G, T, S, causal, window, dropout, key, weights.dtype).reshape(weights.shape)

    if dropout:
        weights = weights * factors(weights.shape, dropout, key, by_numbers).astype(weights.dtype)
    return (_grouped(weights, G) @ v[:, :, None]).reshape(B, H, T, K)


def _grouped(x: Any, num_groups: int) -> Any:
    """Lay out heads by the key/value head that they share, [B H T K] -> [B G R T K]."""
    return x.reshape(x.shape[0], num_groups, -1, *x.shape[2:])
