"""The key/value cache: what attention has computed for the tokens so far, so that a new token costs one position."""

from __future__ import annotations

from typing import Any

import numpy as np

from numformer.tensor import Tensor


class KVCache:
    """Keys and values of every layer, preallocated [L B G max_seq_len K]; each row has a length of its own."""

    def __init__(
        self, num_layers: int, batch_size: int, num_kv_heads: int, max_seq_len: int, head_width: int, dtype: Any
    ) -> None:
        shape = (num_layers, batch_size, num_kv_heads, max_seq_len, head_width)
        self.keys, self.values = np.zeros(shape, dtype), np.zeros(shape, dtype)
        self.lengths = np.zeros(batch_size, np.intp)

    def positions(self, num_new: int) -> np.ndarray:
        """Return the positions [B T] of the next `num_new` tokens."""
        return self.lengths[:, None] + np.arange(num_new)

    def layer(self, number: int) -> LayerCache:
        """Return one layer's part."""
        return LayerCache(self, number)

    def advance(self, num_new: int) -> None:
        """Count tokens that every layer has now stored."""
        self.lengths += num_new

    def copy_row(self, row: int, source: KVCache) -> None:
        """Replace a row by the only row of another cache."""
        self.keys[:, row], self.values[:, row] = source.keys[:, 0], source.values[:, 0]
        self.lengths[row] = source.lengths[0]


class LayerCache:
    """One layer's view of a KVCache."""

    def __init__(self, cache: KVCache, number: int) -> None:
        self.cache = cache
        self.keys, self.values = cache.keys[number], cache.values[number]

    def extend(self, k: Tensor, v: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Store the keys and values [B G T K] of new tokens and return all so far [B G S K].

        Rows of unequal length also need the returned mask [B 1 T S]; for equal ones it is None and causal order is right.
        """
        num_new, lengths = k.shape[2], self.cache.lengths
        start, longest = int(lengths.min()), int(lengths.max()) + num_new
        if start + num_new == longest:
            self.keys[:, :, start:longest], self.values[:, :, start:longest] = k.data, v.data
            return self.keys[:, :, :longest], self.values[:, :, :longest], None
        positions = self.cache.positions(num_new)
        rows = np.arange(len(lengths))[:, None]
        self.keys[rows, :, positions] = k.data.transpose(0, 2, 1, 3)
        self.values[rows, :, positions] = v.data.transpose(0, 2, 1, 3)
        mask = np.arange(longest) <= positions[:, None, :, None]
        return self.keys[:, :, :longest], self.values[:, :, :longest], mask
