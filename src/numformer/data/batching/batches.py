"""Batches of examples of unequal length: similar lengths together, padded to the longest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.random import generator


class LengthBatches:
    """The numbers of the examples of every batch, so that a batch holds examples of similar lengths.

    lengths [N L]: along each axis that is padded (source and target, for instance). A batch holds as many examples as
    both bounds allow: `batch_size` examples and `batch_tokens` tokens, padding included. Every epoch puts examples of
    equal length together anew and has an order of its own, which follow from the seed.
    Raises InputError without examples, and when one is too long for `batch_tokens`.
    """

    def __init__(
        self, lengths: Any, *, batch_size: int | None = None, batch_tokens: int | None = None, seed: int = 0
    ) -> None:
        if not len(lengths):
            raise InputError("there are no examples to make batches of")
        self.lengths = np.asarray(lengths, np.int64).reshape(len(lengths), -1)
        self.seed = seed
        longest = int(self.lengths.sum(axis=1).max())
        if batch_tokens is not None and batch_tokens < longest:
            raise InputError(f"batch_tokens={batch_tokens} is less than the longest example, of {longest} tokens")
        in_order = self.lengths[self._by_length(np.zeros(len(self.lengths)))]
        self.borders = _cut(in_order, batch_size or len(in_order), math.inf if batch_tokens is None else batch_tokens)
        self._epoch: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.borders) - 1

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Yield every batch once, from short to long."""
        order = self._by_length(np.arange(len(self.lengths)))
        for start, stop in zip(self.borders, self.borders[1:], strict=False):
            yield order[start:stop]

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the examples of a step, the same ones whenever asked."""
        epoch, number = divmod(step, len(self))
        if self._epoch is None or self._epoch[0] != epoch:
            draw = generator(self.seed, epoch)
            order = self._by_length(draw.random(len(self.lengths)))
            self._epoch = epoch, order, draw.permutation(len(self))
        _, order, batches = self._epoch
        return order[self.borders[batches[number]] : self.borders[batches[number] + 1]]

    def _by_length(self, ties: NDArray[Any]) -> NDArray[np.int64]:
        return np.lexsort((ties, *self.lengths.T))


def pad(rows: Sequence[NDArray[Any]], value: int, min_length: int = 1) -> NDArray[Any]:
    """Put rows [T] (or [T C]) of unequal length under each other, filled up with `value` -> [B T] (or [B T C])."""
    length = max(min_length, *(len(row) for row in rows))
    table = np.full((len(rows), length, *rows[0].shape[1:]), value, np.int64)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table


def _cut(lengths: NDArray[np.int64], batch_size: int, batch_tokens: float) -> list[int]:
    borders, longest = [0], np.zeros(lengths.shape[1], np.int64)
    for number, row in enumerate(lengths):
        longest, count = np.maximum(longest, row), number + 1 - borders[-1]
        if count > batch_size or count * longest.sum() > batch_tokens:
            borders.append(number)
            longest = row
    return [*borders, len(lengths)]
