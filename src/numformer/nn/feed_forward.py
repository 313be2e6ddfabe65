"""The position-wise feed-forward network."""

from __future__ import annotations

from typing import Any

from numformer.nn.layers import Dropout, Linear, make_activation
from numformer.nn.module import Module


class FeedForward(Module):
    """Widen, activate, narrow, x [B T D] -> [B T D] (Vaswani et al. 2017, §3.3).

    `activation` is one of relu, gelu, gelu_tanh, silu.
    """

    def __init__(
        self, d_model: int, d_ff: int, dropout: float = 0.0, *, activation: str = "relu", generator: Any = None
    ) -> None:
        self.linear1 = Linear(d_model, d_ff, generator=generator)
        self.linear2 = Linear(d_ff, d_model, generator=generator)
        self.activation = make_activation(activation)
        self.dropout = Dropout(dropout)

    def forward(self, x: Any) -> Any:
        """Apply to every position."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))
