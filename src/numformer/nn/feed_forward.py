"""The position-wise feed-forward network."""

from __future__ import annotations

from numformer.autograd import Array, Tensor
from numformer.nn.activations import make_activation
from numformer.nn.dropout import Dropout
from numformer.nn.flat import JointLinear
from numformer.nn.init import check_sizes
from numformer.nn.layers import Linear
from numformer.nn.module import Module
from numformer.random import Generator


class FeedForward(Module):
    """Widen, activate, narrow, x [B T D] -> [B T D] (Vaswani et al. 2017, §3.3).

    `activation` is one of relu, gelu, gelu_tanh, silu. With `gated` the activation is multiplied by a second map of x,
    w2(act(w1 x) · w3 x) (Shazeer 2020, arXiv:2002.05202). With `dropout=None` nothing is ever dropped between the maps.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        dropout: float | None = 0.0,
        *,
        activation: str = "relu",
        gated: bool = False,
        bias: bool = True,
        generator: Generator | None = None,
    ) -> None:
        check_sizes(d_model=d_model, d_ff=d_ff)
        self.linear1 = Linear(d_model, d_ff, bias, generator=generator)
        self.linear2 = Linear(d_ff, d_model, bias, generator=generator)
        self.linear3 = Linear(d_model, d_ff, bias, generator=generator) if gated else None
        self._joint = JointLinear()
        self.activation = make_activation(activation)
        self.dropout = None if dropout is None else Dropout(dropout)

    def forward(self, x: Array) -> Tensor:
        """Transform every position on its own, x [B T D] -> [B T D]."""
        if self.linear3 is None:
            wide = self.activation(self.linear1(x))
        elif joint := self._joint(x, self.linear1, self.linear3):
            wide = self.activation(joint[0]) * joint[1]
        else:
            wide = self.activation(self.linear1(x)) * self.linear3(x)
        return self.linear2(wide if self.dropout is None else self.dropout(wide))
