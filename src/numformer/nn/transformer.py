"""Encoder and decoder layers, with the normalisation before each part (pre-norm) or after it (post-norm)."""

from __future__ import annotations

from typing import Any, ClassVar

from numformer.nn.attention import MultiHeadAttention
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import Dropout, LayerNorm
from numformer.nn.module import Module


class Residual(Module):
    """x + part(norm(x)) pre-norm (Xiong et al. 2020, arXiv:2002.04745), or norm(x + part(x)) post-norm."""

    points: ClassVar[tuple[str, ...]] = ("before",)

    def __init__(self, d_model: int, dropout: float, pre_norm: bool, eps: float = 1e-5) -> None:
        self.norm = LayerNorm(d_model, eps)
        self.dropout = Dropout(dropout)
        self.pre_norm = pre_norm

    def forward(self, x: Any, part: Any) -> Any:
        """Wrap a function of x [B T D]."""
        x = self.observe("before", x)
        if self.pre_norm:
            return x + self.dropout(part(self.norm(x)))
        return self.norm(x + self.dropout(part(x)))


class EncoderLayer(Module):
    """Self-attention and feed-forward, x [B S D] -> [B S D]."""

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
        generator: Any = None,
    ) -> None:
        self.self_attn = MultiHeadAttention(d_model, num_heads, dropout, generator=generator)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation=activation, generator=generator)
        self.residual1 = Residual(d_model, dropout, pre_norm, eps)
        self.residual2 = Residual(d_model, dropout, pre_norm, eps)

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Encode; mask as in MultiHeadAttention."""
        x = self.residual1(x, lambda y: self.self_attn(y, mask=mask))
        return self.residual2(x, self.feed_forward)


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
        generator: Any = None,
    ) -> None:
        self.self_attn = MultiHeadAttention(d_model, num_heads, dropout, generator=generator)
        self.cross_attn = MultiHeadAttention(d_model, num_heads, dropout, generator=generator)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation=activation, generator=generator)
        self.residual1 = Residual(d_model, dropout, pre_norm, eps)
        self.residual2 = Residual(d_model, dropout, pre_norm, eps)
        self.residual3 = Residual(d_model, dropout, pre_norm, eps)

    def forward(self, x: Any, memory: Any, memory_mask: Any = None, mask: Any = None, cache: Any = None) -> Any:
        """Decode x given memory [B S D]; `memory_mask` hides its padding, `mask` that of x.

        With `cache`, this layer's part of a `Seq2SeqCache`, x continues the tokens that it holds.
        """
        itself, cross = (None, None) if cache is None else (cache.itself, cache.cross)
        x = self.residual1(x, lambda y: self.self_attn(y, mask=mask, causal=True, cache=itself))
        x = self.residual2(x, lambda y: self.cross_attn(y, memory, mask=memory_mask, cache=cross))
        return self.residual3(x, self.feed_forward)
