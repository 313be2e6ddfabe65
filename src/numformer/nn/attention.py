"""Multi-head attention."""

from __future__ import annotations

from typing import Any, ClassVar

from numformer import ops
from numformer.errors import InputError
from numformer.nn.layers import Dropout, Linear
from numformer.nn.module import Module


class MultiHeadAttention(Module):
    """Project, attend in `num_heads` heads side by side, project back (Vaswani et al. 2017, §3.2.2).

    With `num_kv_heads` below `num_heads` the heads share keys and values in groups.
    Raises InputError when the heads do not divide the width, or the groups the heads.
    """

    points: ClassVar[tuple[str, ...]] = ("heads",)
    points_on_request: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        *,
        num_kv_heads: int | None = None,
        bias: bool = True,
        generator: Any = None,
    ) -> None:
        self.num_heads, self.num_kv_heads = num_heads, num_heads if num_kv_heads is None else num_kv_heads
        check_heads(d_model, num_heads, self.num_kv_heads)
        kv_width = d_model // num_heads * self.num_kv_heads
        self.q_proj = Linear(d_model, d_model, bias, generator=generator)
        self.k_proj = Linear(d_model, kv_width, bias, generator=generator)
        self.v_proj = Linear(d_model, kv_width, bias, generator=generator)
        self.out_proj = Linear(d_model, d_model, bias, generator=generator)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        mask: Any = None,
        *,
        causal: bool = False,
        return_weights: bool = False,
        cache: Any = None,
    ) -> Any:
        """Let query [B T D] attend to key and value [B S D] (to itself by default) -> [B T D].

        mask: [T S], [B T S] or [B H T S], True = attend. With `return_weights` also returns the weights [B H T S].
        `cache` is one attention's part of a cache: it keeps the projected keys and values.
        """
        key = query if key is None else key
        value = key if value is None else value

        def project() -> tuple[Any, Any]:
            k = ops.split_heads(self.k_proj(key), num_heads=self.num_kv_heads)
            return k, ops.split_heads(self.v_proj(value), num_heads=self.num_kv_heads)

        q = ops.split_heads(self.q_proj(query), num_heads=self.num_heads)
        if cache is None:
            k, v = project()
        else:
            k, v = cache.keys_and_values(project)
        heads, weights = attend(self, q, k, v, mask, dropout=self.dropout, causal=causal, need_weights=return_weights)
        output = self.out_proj(ops.merge_heads(heads))
        return (output, weights) if return_weights else output


def attend(
    layer: Module,
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    bias: Any = None,
    *,
    dropout: Dropout,
    causal: bool,
    need_weights: bool = False,
    **settings: Any,
) -> tuple[Any, Any]:
    """Attend with a layer's dropout, showing weights and heads to those who look inside the layer.

    q [B H T K], k and v [B G S K] -> heads [B H T K], and the weights [B H T S] if they are needed.
    """
    observed = layer.is_observed("weights")
    drop = {"dropout": dropout.p, "key": dropout.next_key()} if dropout.active else {}
    mask = None if mask is None else ops.as_mask(mask)
    result = ops.attention(
        q, k, v, mask, bias, causal=causal, return_weights=need_weights or observed, **drop, **settings
    )
    heads, weights = result if need_weights or observed else (result, None)
    if observed:  # they are put on the way to the heads, so that they have a gradient and can be replaced
        computed, weights = result, layer.observe("weights", weights)
        heads = ops.attention_values(weights, v, causal=causal, computed=computed, **drop)
    if layer.is_observed("heads"):
        shown = layer.observe("heads", ops.transpose(heads, axes=(0, 2, 1, 3)))
        heads = ops.transpose(shown, axes=(0, 2, 1, 3))
    return heads, weights


def check_heads(d_model: int, num_heads: int, num_kv_heads: int) -> None:
    """Raise InputError unless the heads divide the width and the groups the heads."""
    if num_heads < 1 or d_model % num_heads:
        raise InputError(f"num_heads={num_heads} does not divide d_model={d_model}")
    if num_kv_heads < 1 or num_heads % num_kv_heads:
        raise InputError(f"num_kv_heads={num_kv_heads} does not divide num_heads={num_heads}")
