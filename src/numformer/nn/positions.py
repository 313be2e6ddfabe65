"""Positions added to embeddings: the sinusoidal table, and vectors that are learned."""

from __future__ import annotations

from numformer import ops
from numformer.autograd import Tensor
from numformer.errors import InputError
from numformer.names import takes_synonyms
from numformer.nn import init
from numformer.nn.dropout import Dropout
from numformer.nn.module import Module
from numformer.random import Generator


@takes_synonyms
class PositionalEncoding(Module):
    """Add the sinusoidal table of Vaswani et al. 2017 to x [B T D], then drop out.

    `max_len` may be written for `max_seq_len`. Raises InputError when T is over it.
    """

    def __init__(self, d_model: int, max_seq_len: int = 512, dropout: float = 0.0) -> None:
        self.table = ops.sinusoidal_positions(max_seq_len, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the rows offset..offset+T-1 of the table, x [B T D] -> [B T D]."""
        end = offset + x.shape[1]
        _check_length(end, len(self.table))
        return self.dropout(x + self.table[offset:end].astype(x.dtype))


@takes_synonyms
class LearnedPositions(Module):
    """Add a learned vector per position to x [B T D], then drop out; raises InputError when T is over `max_seq_len`."""

    def __init__(
        self,
        max_seq_len: int,
        d_model: int,
        dropout: float = 0.0,
        *,
        std: float = 0.02,
        generator: Generator | None = None,
    ) -> None:
        self.weight = init.normal(max_seq_len, d_model, std=std, generator=generator)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add the vectors of the positions offset..offset+T-1, x [B T D] -> [B T D]."""
        end = offset + x.shape[1]
        _check_length(end, len(self.weight))
        return self.dropout(x + self.weight[offset:end])


def _check_length(length: int, longest: int) -> None:
    if length > longest:
        raise InputError(f"a sequence of {length} positions does not fit max_seq_len={longest}")
