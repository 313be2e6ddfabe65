"""Encoder and decoder layers, with the normalisation before each part (pre-norm) or after it (post-norm)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from numformer.autograd import Array, ArrayLike, Tensor
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.dropout import Dropout
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import LayerNorm
from numformer.nn.module import Module
from numformer.random import Generator


class Residual(Module):
    """x + part(norm(x)) pre-norm (Xiong et al. 2020, arXiv:2002.04745), or norm(x + part(x)) post-norm."""

    points: ClassVar[tuple[str, ...]] = ("before",)

    def __init__(self, norm: Module, dropout: float = 0.0, pre_norm: bool = True) -> None:
        self.norm = norm
        self.dropout = Dropout(dropout)
        self.pre_norm = pre_norm

    def forward(self, x: Array, part: Callable[[Array], Array], onto: Array | None = None) -> Tensor:
        """Return x [B T D] with what `part`, a function of such a stream, has to add to it.

        `onto` is what that is added to where it is not x: so branches that read one stream lie side by side.
        """
        x = self.observe("before", x)
        stream = x if onto is None else onto
        if self.pre_norm:
            return stream + self.dropout(part(self.norm(x)))
        return self.norm(stream + self.dropout(part(x)))


class Layer(Module):
    """Self-attention and feed-forward, each on a residual branch, x [B T D] -> [B T D].

    An architecture whose layers have these four parts writes the constructor that makes them, in any order. With
    `is_parallel` both parts read x itself (Wang and Komatsuzaki 2021), otherwise the second what the first has added to it.
    """

    self_attn: MultiHeadAttention
    feed_forward: FeedForward
    residual1: Residual
    residual2: Residual
    is_parallel = False

    def forward(
        self,
        x: Array,
        mask: ArrayLike | None = None,
        *,
        bias: Array | None = None,
        causal: bool = False,
        cache: Any = None,
        positions: Array | None = None,
    ) -> Tensor:
        """Transform x; mask, bias and positions as in MultiHeadAttention, `cache` is the layer's part of a cache."""
        settings = {"mask": mask, "bias": bias, "causal": causal, "cache": cache}
        settings |= {"positions": positions, "need_weights": False}
        attended = self.residual1(x, lambda y: self.self_attn(y, **settings)[0])
        if self.is_parallel:
            return self.residual2(x, self.feed_forward, onto=attended)
        return self.residual2(attended, self.feed_forward)


class EncoderLayer(Layer):
    """The encoder's layer of Vaswani et al. 2017, x [B S D] -> [B S D]."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        *,
        pre_norm: bool = True,
        activation: str = "relu",
        eps: float = 1e-5,
        generator: Generator | None = None,
    ) -> None:
        self.self_attn = MultiHeadAttention(d_model, num_heads, dropout, generator=generator)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation=activation, generator=generator)
        self.residual1 = Residual(LayerNorm(d_model, eps), dropout, pre_norm)
        self.residual2 = Residual(LayerNorm(d_model, eps), dropout, pre_norm)


class DecoderLayer(Module):
    """Causal self-attention, attention to the encoder's output, feed-forward, x [B T D] -> [B T D]."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        *,
        pre_norm: bool = True,
        activation: str = "relu",
        eps: float = 1e-5,
        generator: Generator | None = None,
    ) -> None:
        self.self_attn = MultiHeadAttention(d_model, num_heads, dropout, generator=generator)
        self.cross_attn = MultiHeadAttention(d_model, num_heads, dropout, generator=generator)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation=activation, generator=generator)
        self.residual1 = Residual(LayerNorm(d_model, eps), dropout, pre_norm)
        self.residual2 = Residual(LayerNorm(d_model, eps), dropout, pre_norm)
        self.residual3 = Residual(LayerNorm(d_model, eps), dropout, pre_norm)

    def forward(
        self,
        x: Array,
        memory: Array | None,
        memory_mask: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        cache: Any = None,
        bias: Array | None = None,
    ) -> Tensor:
        """Decode x given memory [B S D]; `memory_mask` hides its padding, `mask` more of x than causal order does.

        `bias` is added to the scores of x attending to itself, as in MultiHeadAttention. With `cache`, the layer's part of a
        cache with `itself` and `cross`, x continues the tokens that it holds, and memory may be None once it is filled.
        """
        itself, cross = (None, None) if cache is None else (cache.itself, cache.cross)

        def attend_to_itself(y: Array) -> Tensor:
            return self.self_attn(y, mask=mask, bias=bias, causal=True, cache=itself, need_weights=False)[0]

        def attend_to_memory(y: Array) -> Tensor:
            return self.cross_attn(y, memory, mask=memory_mask, cache=cross, need_weights=False)[0]

        x = self.residual1(x, attend_to_itself)
        x = self.residual2(x, attend_to_memory)
        return self.residual3(x, self.feed_forward)


def reseed_dropout(model: Module, seed: int) -> None:
    """Give every dropout of a model its own sequence of masks, from the model's seed."""
    for site, dropout in enumerate(_dropouts(model)):
        dropout.reseed(seed, site)


def _dropouts(module: Module) -> Iterator[Dropout]:
    """Yield the dropouts in the order of their names, but those that close residual branches after those in the parts."""
    if isinstance(module, Dropout):
        yield module
    for child in sorted((child for _, child in module.named_children()), key=lambda child: isinstance(child, Residual)):
        yield from _dropouts(child)
