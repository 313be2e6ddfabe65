"""Positions added to embeddings: the sinusoidal table, and vectors that are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numformer import ops
from numformer.autograd import Array, Tensor, namespace_of
from numformer.errors import InputError
from numformer.nn import init
from numformer.nn.dropout import Dropout
from numformer.nn.module import Module
from numformer.random import Generator


class PositionalEncoding(Module):
    """Add the sinusoidal table of Vaswani et al. 2017 to x [B T D], then drop out.

    `max_len` may be written for `max_seq_len`. Raises InputError when T is over it.
    """

    def __init__(self, d_model: int, max_seq_len: int = 512, dropout: float = 0.0) -> None:
        init.check_sizes(d_model=d_model, max_seq_len=max_seq_len)
        self.table: Any = ops.sinusoidal_positions(max_seq_len, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Array, positions: Array | None = None) -> Tensor:
        """Add the table's rows 0..T-1, or those of positions [B T], to x [B T D]."""
        _check_length(x.shape[1], len(self.table))
        rows = self.table[: x.shape[1]] if positions is None else namespace_of(x).asarray(self.table)[positions]
        return self.dropout(ops.add(x, rows.astype(x.dtype)))

    if TYPE_CHECKING:
        __call__ = forward


class LearnedPositions(Module):
    """Add a learned vector per position to x [B T D], then drop out.

    `max_len` may be written for `max_seq_len`. Raises InputError when T is over it.
    """

    def __init__(
        self,
        max_seq_len: int,
        d_model: int,
        dropout: float = 0.0,
        *,
        std: float = 0.02,
        generator: Generator | None = None,
    ) -> None:
        init.check_sizes(max_seq_len=max_seq_len, d_model=d_model)
        self.weight = init.normal(max_seq_len, d_model, std=std, generator=generator)
        self.dropout = Dropout(dropout)

    def forward(self, x: Array, positions: Array | None = None) -> Tensor:
        """Add the vectors of positions 0..T-1, or of these [B T], to x [B T D]."""
        _check_length(x.shape[1], len(self.weight))
        rows = self.weight[: x.shape[1]] if positions is None else ops.embedding(positions, self.weight)
        return self.dropout(ops.add(x, rows))

    if TYPE_CHECKING:
        __call__ = forward


def _check_length(length: int, longest: int) -> None:
    if length > longest:
        raise InputError(f"a sequence of {length} positions does not fit max_seq_len={longest}")
