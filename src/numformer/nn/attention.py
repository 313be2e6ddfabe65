"""Multi-head attention."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numformer import ops
from numformer.errors import InputError
from numformer.nn.layers import Dropout, Linear
from numformer.nn.module import Module


class MultiHeadAttention(Module):
    """Project, attend in `num_heads` heads side by side, project back (Vaswani et al. 2017, §3.2.2).

    With `num_kv_heads` below `num_heads` the heads share keys and values in groups.
    Raises InputError when the heads do not divide the width, or the groups the heads.
    """

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

        q = ops.split_heads(self.q_proj(query), num_heads=self.num_heads)
        k = v = None
        if cache is None or not cache.is_filled:
            k = ops.split_heads(self.k_proj(key), num_heads=self.num_kv_heads)
            v = ops.split_heads(self.v_proj(value), num_heads=self.num_kv_heads)
        if cache is not None:
            k, v = cache.update(k, v)
        result = attend(q, k, v, mask, dropout=self.dropout, causal=causal, return_weights=return_weights)
        output, weights = result if return_weights else (result, None)
        output = self.out_proj(ops.merge_heads(output))
        return (output, weights) if return_weights else output


def attend(q: Any, k: Any, v: Any, mask: Any, *, dropout: Dropout, causal: bool, return_weights: bool = False) -> Any:
    """Call the attention op with a layer's dropout, and the mask only where there is one."""
    recording = _recorder.maps
    settings: dict[str, Any] = {"causal": causal, "return_weights": return_weights or recording is not None}
    if dropout.active:
        settings |= {"dropout": dropout.p, "key": dropout.next_key()}
    result = ops.attention(q, k, v, *([] if mask is None else [ops.as_mask(mask)]), **settings)
    if recording is None:
        return result
    recording[id(dropout)] = result[1]
    return result if return_weights else result[0]


class _Recorder(threading.local):
    maps: dict[int, Any] | None = None


_recorder = _Recorder()


@contextmanager
def record_attention(model: Module) -> Iterator[dict[str, Any]]:
    """Collect the weights [B H T S] of every attention of a model that runs inside the block, by the layer's name."""
    found: dict[str, Any] = {}
    maps: dict[int, Any] = {}
    before, _recorder.maps = _recorder.maps, maps
    try:
        yield found
        for name, module in model.named_modules():
            if id(module) in maps:
                found[name.rpartition(".")[0]] = maps[id(module)].data
    finally:
        if before is not None:
            before |= maps
        _recorder.maps = before


def check_heads(d_model: int, num_heads: int, num_kv_heads: int) -> None:
    """Raise InputError unless the heads divide the width and the groups the heads."""
    if num_heads < 1 or d_model % num_heads:
        raise InputError(f"num_heads={num_heads} does not divide d_model={d_model}")
    if num_kv_heads < 1 or num_heads % num_kv_heads:
        raise InputError(f"num_kv_heads={num_kv_heads} does not divide num_heads={num_heads}")
