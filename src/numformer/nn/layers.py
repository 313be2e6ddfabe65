"""The layers that hold weights (linear map, embedding, the two normalisations), and those that change nothing but shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from numformer import ops
from numformer.autograd import Array, ArrayLike, Tensor
from numformer.autograd.operators import flat_shape
from numformer.nn import init
from numformer.nn.module import Module
from numformer.random import Generator


class Linear(Module):
    """x Wᵀ + b, x [... D] -> [... F].

    The weight [F D] is drawn by Glorot's rule, or from N(0, std²), by `generator` where one is given; the bias is 0.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        std: float | None = None,
        generator: Generator | None = None,
    ) -> None:
        init.check_sizes(in_features=in_features, out_features=out_features)
        if std is None:
            self.weight = init.xavier_uniform(out_features, in_features, generator)
        else:
            self.weight = init.normal(out_features, in_features, std=std, generator=generator)
        self.bias = init.zeros(out_features) if bias else None

    def forward(self, x: Array) -> Tensor:
        """Map the last axis, x [... D] -> [... F]."""
        return ops.linear(x, self.weight, self.bias)

    if TYPE_CHECKING:
        __call__ = forward


class Embedding(Module):
    """A table of vectors, ids [B T] -> [B T D]; the row `padding_id` is zero and stays zero.

    With `scaled` the vectors are multiplied by the root of their width, as those that enter the encoder and the decoder of
    Vaswani et al. 2017 (§3.4); the table itself is not.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        padding_id: int | None = None,
        scaled: bool = False,
        std: float = 0.02,
        generator: Generator | None = None,
    ) -> None:
        init.check_sizes(vocab_size=vocab_size, d_model=d_model)
        self.weight = init.normal(vocab_size, d_model, std=std, generator=generator)
        self.padding_id, self.scaled = padding_id, scaled
        if padding_id is not None:
            self.weight.data[padding_id] = 0.0

    def forward(self, ids: ArrayLike) -> Tensor:
        """Return the row of every id, ids [B T] -> [B T D]."""
        x = ops.embedding(ids, self.weight, padding_id=self.padding_id)
        return x * math.sqrt(x.shape[-1]) if self.scaled else x

    if TYPE_CHECKING:
        __call__ = forward


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last axis, then scale and shift, x [... D] -> [... D]."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        init.check_sizes(d_model=d_model)
        self.weight, self.bias = init.ones(d_model), init.zeros(d_model)
        self.eps = eps

    def forward(self, x: Array) -> Tensor:
        """Normalise every vector along the last axis, x [... D] -> [... D]."""
        return ops.layer_norm(x, self.weight, self.bias, eps=self.eps)

    if TYPE_CHECKING:
        __call__ = forward


class RMSNorm(Module):
    """Root mean square 1 over the last axis, then scale, x [... D] -> [... D]."""

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        init.check_sizes(d_model=d_model)
        self.weight = init.ones(d_model)
        self.eps = eps

    def forward(self, x: Array) -> Tensor:
        """Normalise every vector along the last axis, x [... D] -> [... D]."""
        return ops.rms_norm(x, self.weight, eps=self.eps)

    if TYPE_CHECKING:
        __call__ = forward


class Identity(Module):
    """The input itself, where something takes a layer and none is wanted."""

    def forward(self, x: Array) -> Array:
        """Return x."""
        return x


class Flatten(Module):
    """One axis in place of those from `start_dim` to `end_dim`, both included; the first one, the batch, stays by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Array) -> Tensor:
        """Join axes, x [B T D] -> [B T*D] by default."""
        return ops.reshape(x, shape=flat_shape(x.shape, self.start_dim, self.end_dim))
