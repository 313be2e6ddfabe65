"""Multi-head attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from numformer import ops
from numformer.autograd import Array, ArrayLike, Tensor, namespace_of
from numformer.errors import InputError
from numformer.nn.dropout import Dropout
from numformer.nn.flat import JointLinear
from numformer.nn.layers import Linear
from numformer.nn.module import Module
from numformer.random import Generator


class MultiHeadAttention(Module):
    """Project, attend in `num_heads` heads side by side, project back (Vaswani et al. 2017, §3.2.2).

    With `num_kv_heads` below `num_heads` the heads share keys and values in groups. `head_dim` is the width of a head where
    it is not the heads' equal share of the width. `out_bias` says it of the projection back alone. With `q_norm` and
    `k_norm` every head of a query and of a key is normalised (Henry et al. 2020, arXiv:2010.04245). With `rope_theta`
    queries and keys are rotated by their positions (Su et al. 2021), and with `rope_frequencies` by these angles, as
    `ops.rope` says. With `window` a position sees only so many of the last ones; `scale` replaces 1/√K, and `soft_cap`
    bounds the scores. Raises InputError when the heads do not divide the width, or the groups the heads.
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
        head_dim: int | None = None,
        bias: bool = True,
        out_bias: bool | None = None,
        q_norm: Module | None = None,
        k_norm: Module | None = None,
        rope_theta: float | None = None,
        rope_frequencies: tuple[float, ...] | None = None,
        window: int | None = None,
        scale: float | None = None,
        soft_cap: float | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.num_heads, self.num_kv_heads = num_heads, num_heads if num_kv_heads is None else num_kv_heads
        self.window, self.scale, self.soft_cap = window, scale, soft_cap
        width = check_heads(d_model, num_heads, self.num_kv_heads, head_dim)
        if rope_theta is not None and rope_frequencies is None:
            rope_frequencies = ops.rope_frequencies(width, rope_theta)
        self.rope_frequencies = rope_frequencies
        self._add_projections(d_model, width * num_heads, width * self.num_kv_heads, bias, generator)
        self.out_proj = Linear(width * num_heads, d_model, bias if out_bias is None else out_bias, generator=generator)
        self.q_norm, self.k_norm = q_norm, k_norm
        self.dropout = Dropout(dropout)

    def _add_projections(
        self, d_model: int, width: int, kv_width: int, bias: bool, generator: Generator | None
    ) -> None:
        self.q_proj = Linear(d_model, width, bias, generator=generator)
        self.k_proj = Linear(d_model, kv_width, bias, generator=generator)
        self.v_proj = Linear(d_model, kv_width, bias, generator=generator)
        self._joint = JointLinear()

    def forward(
        self,
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        mask: ArrayLike | None = None,
        *,
        bias: Array | None = None,
        causal: bool = False,
        cache: Any = None,
        positions: Array | None = None,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Let query [B T D] attend to key and value [B S D] (to itself by default) -> [B T D] and weights [B H T S].

        Without `need_weights`, which saves time and memory, the second is None. mask: [T S], [B T S] or [B H T S], True =
        attend. bias: added to the scores, [B H T S], any axis of which may be 1. positions: [T] or [B T], from 0 by
        default. `cache` is one attention's part of a cache: it takes the keys and values of new tokens, and gives all
        that it holds; with a mask, a window counts from the positions.
        """
        if cache is not None and cache.is_filled:  # by what the encoder said, which stays the same for every token
            q = self._queries(query)
            k, v = cache.update(None, None)
        else:
            key = query if key is None else key
            q, k, v = self._queries_keys_values(query, key, key if value is None else value, positions)
            if cache is not None:
                k, v = cache.update(k, v)
        window = self.window
        if window is not None and cache is not None and mask is not None:
            # Rows of unequal length: the op would count the window of all of them from the end of the longest.
            mask, window = ops.window_mask(mask, self._positions(query, positions), window), None
        output, weights = self._attend(q, k, v, mask, bias, causal, window, need_weights)
        return self.out_proj(ops.merge_heads(output)), weights

    if TYPE_CHECKING:
        __call__ = forward

    def _queries(self, query: Array) -> Array:
        """Return the queries [B H T K] of a module that attends to what is in a cache already."""
        q = ops.split_heads(self._project(query, None, None)[0], num_heads=self.num_heads)
        return q if self.q_norm is None else self.q_norm(q)

    def _queries_keys_values(
        self, query: Array, key: Array, value: Array, positions: Array | None
    ) -> tuple[Array, Array, Array]:
        """Return queries [B H T K], and keys and values [B G S K], normalised and rotated where that is wanted."""
        q, k, v = self._project(query, key, value)
        q = ops.split_heads(q, num_heads=self.num_heads)
        k, v = ops.split_heads(k, num_heads=self.num_kv_heads), ops.split_heads(v, num_heads=self.num_kv_heads)
        q, k = q if self.q_norm is None else self.q_norm(q), k if self.k_norm is None else self.k_norm(k)
        if self.rope_frequencies is not None:
            positions, frequencies = self._positions(query, positions), self.rope_frequencies
            q, k = ops.rope(q, positions, frequencies=frequencies), ops.rope(k, positions, frequencies=frequencies)
        return q, k, v

    @staticmethod
    def _positions(query: Array, positions: Array | None) -> Any:
        return namespace_of(query).arange(query.shape[1]) if positions is None else positions

    def _project(self, query: Array, key: Array | None, value: Array | None) -> tuple[Any, Any, Any]:
        """Return what is to be cut into heads, nothing for a key or a value that is None."""
        if key is query and value is query and (joint := self._joint(query, self.q_proj, self.k_proj, self.v_proj)):
            return joint[0], joint[1], joint[2]
        q = self.q_proj(query)
        return q, None if key is None else self.k_proj(key), None if value is None else self.v_proj(value)

    def _attend(
        self,
        q: Array,
        k: Array,
        v: Array,
        mask: ArrayLike | None,
        bias: Array | None,
        causal: bool,
        window: int | None,
        need_weights: bool,
    ) -> tuple[Any, Any]:
        """Return the heads' output [B H T K], and their weights [B H T S] where they are asked for."""
        dropping, observed = self.dropout.active, self.is_observed("weights")
        settings = {
            "causal": causal,
            "window": window,
            "dropout": self.dropout.p if dropping else 0.0,
            "key": self.dropout.next_key(q) if dropping else (),
        }
        result = ops.attention(
            *(q, k, v, None if mask is None else ops.as_mask(mask), bias),
            scale=self.scale,
            soft_cap=self.soft_cap,
            return_weights=need_weights or observed,
            **settings,
        )
        heads, weights = result if need_weights or observed else (result, None)
        if observed:  # the weights lie on the way to the heads then, so they have a gradient and can be replaced
            weights = self.observe("weights", weights)
            heads = ops.attention_values(weights, v, computed=result, **settings)
        if self.is_observed("heads"):
            heads = _swapped(self.observe("heads", _swapped(heads)))
        return heads, weights if need_weights else None


class FusedAttention(MultiHeadAttention):
    """Attention whose queries, keys and values come from one product, with one weight [3D D]; faster to itself."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        *,
        bias: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(d_model, num_heads, dropout, bias=bias, generator=generator)

    def _add_projections(
        self, d_model: int, width: int, kv_width: int, bias: bool, generator: Generator | None
    ) -> None:
        self.in_proj = Linear(d_model, width + 2 * kv_width, bias, generator=generator)

    def _project(self, query: Array, key: Array | None, value: Array | None) -> tuple[Any, Any, Any]:
        if key is query and value is query:
            return ops.split(self.in_proj(query), sections=3)
        weight, bias = self.in_proj.weight, self.in_proj.bias
        width = weight.shape[0] // 3
        parts = [slice(start, start + width) for start in (0, width, 2 * width)]
        q, k, v = (
            None if x is None else ops.linear(x, weight[part], None if bias is None else bias[part])
            for x, part in zip((query, key, value), parts, strict=True)
        )
        return q, k, v


def _swapped(heads: Array) -> Any:
    """Swap positions and heads, [B H T K] -> [B T H K]."""
    return ops.transpose(heads, axes=(0, 2, 1, 3))


def check_heads(d_model: int, num_heads: int, num_kv_heads: int, head_dim: int | None = None) -> int:
    """Return the width of a head; raises InputError unless the heads divide the width and the groups the heads."""
    if num_heads < 1 or (head_dim is None and d_model % num_heads):
        raise InputError(f"num_heads={num_heads} does not divide d_model={d_model}")
    if num_kv_heads < 1 or num_heads % num_kv_heads:
        raise InputError(f"num_kv_heads={num_kv_heads} does not divide num_heads={num_heads}")
    return d_model // num_heads if head_dim is None else head_dim
