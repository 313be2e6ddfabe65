"""The logits of the next token for a batch of growing sequences, with a cache or, as its definition, without.

The rule past the context length: when a sequence outgrows `max_seq_len`, its oldest half-context is dropped and the rest
counts from position 0 again, so the model always sees between half a context and a whole one. The cache is then refilled,
which costs one pass over half a context every half-context tokens.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from numformer.generation.cache import KVCache


def window_start(length: int, max_seq_len: int) -> int:
    """Return how many of the first tokens of a sequence of `length` are no longer seen."""
    half = max(1, max_seq_len // 2)
    return max(0, -(-(length - max_seq_len) // half) * half)


class Decoder(Protocol):
    """Sequences that grow by one token a step."""

    sequences: list[list[int]]

    def next_logits(self) -> np.ndarray:
        """Return the logits [B V] of each sequence's next token; call once for every token appended."""

    def append(self, ids: np.ndarray) -> None:
        """Add one token [B] to each sequence."""

    def select(self, rows: np.ndarray) -> None:
        """Keep these sequences, in this order; one may be taken more than once."""


class PlainDecoder:
    """Runs the model over every row's whole window at every step."""

    def __init__(self, model: Any, sequences: list[list[int]]) -> None:
        self.model, self.sequences = model, [list(ids) for ids in sequences]

    def next_logits(self) -> np.ndarray:
        """Return the logits [B V] of each sequence's next token."""
        longest = self.model.config.max_seq_len
        windows = [ids[window_start(len(ids), longest) :] for ids in self.sequences]
        rows = [self.model(np.array([window]), last=np.array([-1])).data[0, 0] for window in windows]
        return np.stack(rows)

    def append(self, ids: np.ndarray) -> None:
        """Add one token [B] to each sequence."""
        for sequence, token in zip(self.sequences, ids.tolist(), strict=True):
            sequence.append(token)

    def select(self, rows: np.ndarray) -> None:
        """Keep these sequences, in this order; one may be taken more than once."""
        self.sequences = [list(self.sequences[row]) for row in rows.tolist()]


class CachedDecoder(PlainDecoder):
    """Runs the model over new tokens only; the logits are those of PlainDecoder."""

    def __init__(self, model: Any, sequences: list[list[int]]) -> None:
        super().__init__(model, sequences)
        self.cache = _new_cache(model, len(sequences))

    def next_logits(self) -> np.ndarray:
        """Return the logits [B V] of each sequence's next token."""
        if not self.cache.lengths.any():
            return self._prefill(self.sequences, self.cache)
        full = np.flatnonzero(self.cache.lengths >= self.model.config.max_seq_len)
        self.cache.lengths[full] = 0  # any position does for one step: these rows are refilled below
        newest = np.array([[ids[-1]] for ids in self.sequences])
        logits: np.ndarray = self.model(newest, cache=self.cache).data[:, 0]
        for row in full.tolist():
            alone = _new_cache(self.model, 1)
            logits[row] = self._prefill([self.sequences[row]], alone)[0]
            self.cache.copy_row(row, alone)
        return logits

    def select(self, rows: np.ndarray) -> None:
        """Keep these sequences, in this order; one may be taken more than once."""
        super().select(rows)
        self.cache.select(rows)

    def _prefill(self, sequences: list[list[int]], cache: KVCache) -> np.ndarray:
        """Run the windows of all sequences at once, padded on the right, where no real token looks."""
        longest = self.model.config.max_seq_len
        windows = [ids[window_start(len(ids), longest) :] for ids in sequences]
        lengths = np.array([len(window) for window in windows])
        tokens = np.zeros((len(windows), lengths.max()), np.intp)
        for row, window in enumerate(windows):
            tokens[row, : len(window)] = window
        logits: np.ndarray = self.model(tokens, cache=cache, last=lengths - 1).data[:, 0]
        cache.lengths[:] = lengths
        return logits


def _new_cache(model: Any, batch_size: int) -> KVCache:
    config = model.config
    heads = getattr(config, "num_kv_heads", None) or config.num_heads
    width = getattr(config, "head_dim", None) or config.d_model // config.num_heads
    dtype = next(model.parameters()).dtype
    return KVCache(config.num_layers, batch_size, heads, config.max_seq_len, width, dtype)
