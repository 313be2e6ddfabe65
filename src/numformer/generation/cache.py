"""The key/value cache: what attention has computed for the tokens so far, so that a new token costs one position."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numformer.autograd import Tensor


class KVCache:
    """Keys and values of every layer, preallocated [L B G max_seq_len K]; each row has a length of its own."""

    def __init__(
        self, num_layers: int, batch_size: int, num_kv_heads: int, max_seq_len: int, head_width: int, dtype: Any
    ) -> None:
        shape = (num_layers, batch_size, num_kv_heads, max_seq_len, head_width)
        self.keys, self.values = np.zeros(shape, dtype), np.zeros(shape, dtype)
        self.lengths = np.zeros(batch_size, np.intp)

    def positions_and_mask(self, num_new: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the positions [B T] of the next `num_new` tokens, and the mask [B 1 T S] that unequal rows need."""
        positions, longest = self.lengths[:, None] + np.arange(num_new), int(self.lengths.max(initial=0)) + num_new
        if (self.lengths == self.lengths[0]).all():
            return positions, None
        return positions, np.arange(longest) <= positions[:, None, :, None]

    def layer(self, number: int) -> LayerCache:
        """Return one layer's part."""
        return LayerCache(self, number)

    def advance(self, num_new: int) -> None:
        """Count tokens that every layer has now stored."""
        self.lengths += num_new

    def select(self, rows: np.ndarray) -> None:
        """Keep these rows, in this order; a row may be taken more than once."""
        filled = int(self.lengths.max(initial=0))
        self.lengths = self.lengths[rows]
        self.keys, self.values = (_taken(array, rows, filled) for array in (self.keys, self.values))

    def copy_row(self, row: int, source: KVCache) -> None:
        """Replace a row by the only row of another cache."""
        self.keys[:, row], self.values[:, row] = source.keys[:, 0], source.values[:, 0]
        self.lengths[row] = source.lengths[0]


class LayerCache:
    """One layer's view of a KVCache."""

    is_filled = False

    def __init__(self, cache: KVCache, number: int) -> None:
        self.cache = cache
        self.keys, self.values = cache.keys[number], cache.values[number]

    def update(self, k: Tensor, v: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Store the keys and values [B G T K] of new tokens and return all so far [B G S K]."""
        num_new, lengths = k.shape[2], self.cache.lengths
        start, longest = int(lengths.min()), int(lengths.max()) + num_new
        if start + num_new == longest:
            self.keys[:, :, start:longest], self.values[:, :, start:longest] = k.data, v.data
            return self.keys[:, :, :longest], self.values[:, :, :longest]
        positions = self.cache.positions_and_mask(num_new)[0]
        rows = np.arange(len(lengths))[:, None]
        self.keys[rows, :, positions] = k.data.transpose(0, 2, 1, 3)
        self.values[rows, :, positions] = v.data.transpose(0, 2, 1, 3)
        return self.keys[:, :, :longest], self.values[:, :, :longest]


class Seq2SeqCache(KVCache):
    """What a decoder has computed: of its own tokens, in rows of one length, and of the encoder's output."""

    def __init__(
        self, num_layers: int, batch_size: int, num_kv_heads: int, max_seq_len: int, head_width: int, dtype: Any
    ) -> None:
        super().__init__(num_layers, batch_size, num_kv_heads, max_seq_len, head_width, dtype)
        self.cross = [CrossCache() for _ in range(num_layers)]

    @property
    def length(self) -> int:
        """The number of tokens so far."""
        return int(self.lengths.max(initial=0))

    def layer(self, number: int) -> Any:
        """Return one layer's part."""
        return DecoderLayerCache(LayerCache(self, number), self.cross[number])

    def select_sources(self, rows: np.ndarray) -> None:
        """Keep these rows of what was computed of the encoder's output."""
        for cross in self.cross:
            cross.select(rows)


class DecoderLayerCache(NamedTuple):
    """The parts of a decoder layer's two attentions."""

    itself: LayerCache
    cross: CrossCache


class CrossCache:
    """Keys and values of the encoder's output, which stay the same from token to token."""

    def __init__(self) -> None:
        self.kept: tuple[Any, Any] | None = None

    @property
    def is_filled(self) -> bool:
        """Whether the keys and values are kept already."""
        return self.kept is not None

    def update(self, k: Tensor | None, v: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
        """Keep what is given the first time, and return what is kept."""
        if k is not None and v is not None:
            self.kept = np.ascontiguousarray(k.data), np.ascontiguousarray(v.data)
        assert self.kept is not None
        return self.kept

    def select(self, rows: np.ndarray) -> None:
        """Keep these rows, in this order."""
        if self.kept is not None:
            self.kept = self.kept[0][rows], self.kept[1][rows]


def _taken(array: np.ndarray, rows: np.ndarray, filled: int) -> np.ndarray:
    """Return rows of a cache [L B G S K], of which the first `filled` positions are in use."""
    chosen = array[:, rows, :, :filled]
    if len(rows) != array.shape[1]:
        array = np.zeros((array.shape[0], len(rows), *array.shape[2:]), array.dtype)
    array[:, :, :, :filled] = chosen
    return array
