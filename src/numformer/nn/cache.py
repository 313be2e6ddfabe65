"""Caches of keys and values: what attention has computed for the tokens so far, so that a new token costs one position.

A cache has a fixed number of rows, one per sequence, each with a length of its own. What a model sees is a range of them:
`rows(first, stop)` shows it without a copy. A row is moved, or a sequence continued in two ways, by `copy_row`; it is
dropped by `clear_row`. An attention stores and gets back keys and values by one method, `update(k, v)`; where the new
tokens stand and what they may attend to, the model asks once per forward pass, by `positions_and_mask`.

The memory is taken in blocks of positions when a row needs them. The first update of a layer decides its kind of array, its
dtype and its number of key/value heads, so a model with fewer of these has a smaller cache.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple, Self

from numformer.autograd import ArrayLike, Tensor, namespace_of
from numformer.errors import InputError

BLOCK = 64  # positions; growing copies what is there, which one step in so many does not feel

_number = itertools.count(1)


class KVCache:
    """Keys and values of every layer for rows of tokens; `lengths` [B] are the numbers of tokens that the rows hold."""

    def __init__(self, num_layers: int, num_rows: int, max_seq_len: int) -> None:
        xp = namespace_of([])
        self.max_seq_len = max_seq_len
        self.lengths = xp.zeros(num_rows, dtype=xp.int64)
        self._all_lengths = self.lengths
        self._first = 0
        self._stores = [_Store() for _ in range(num_layers)]

    def rows(self, first: int, stop: int) -> Self:
        """Return a cache of the rows from `first` to before `stop`, which shares their memory."""
        part = object.__new__(type(self))  # a shallow copy, made for every token: copy.copy takes ten times as long
        vars(part).update(vars(self))
        part.lengths, part._first = self.lengths[first:stop], self._first + first
        return part

    def layer(self, number: int) -> Any:
        """Return one layer's part: for a decoder-only model the LayerCache of its self-attention."""
        return LayerCache(self, self._stores[number])

    def positions_and_mask(self, num_new: int) -> tuple[Any, Any]:
        """Return the positions [B T] of the next `num_new` tokens, and the mask [B 1 T S] of what they may attend to.

        Each sees its own row up to itself; what an attention hides besides, as by a window, it takes from the mask itself.
        The mask is None when all rows are of one length: causal attention is right then. Where there is a mask, causal
        attention besides changes nothing. Raises InputError when a row would outgrow the context.
        """
        shortest, longest = self._shortest_and_longest()
        end = longest + num_new
        if end > self.max_seq_len:
            raise InputError(f"a sequence of {end} tokens does not fit max_seq_len={self.max_seq_len}")
        xp = namespace_of(self.lengths)
        positions = self.lengths[:, None] + xp.arange(num_new)
        if shortest == longest:
            return positions, None
        return positions, xp.arange(end) <= positions[:, None, :, None]

    def advance(self, num_new: int) -> None:
        """Count tokens that every layer has now stored, in every row."""
        self.lengths += num_new

    def copy_row(self, source: int, target: int) -> None:
        """Make the row `target` hold what the row `source` holds."""
        length = int(self.lengths[source])
        for store in self._stores:
            store.copy_row(self._first + source, self._first + target, length)
        self.lengths[target] = length

    def clear_row(self, row: int) -> None:
        """Forget the tokens of a row."""
        self.lengths[row] = 0

    def _shortest_and_longest(self) -> tuple[int, int]:
        lengths = [int(length) for length in self.lengths]
        return min(lengths), max(lengths)

    def _num_used(self) -> int:
        """Return the number of rows up to the last one that holds tokens."""
        lengths = self._all_lengths
        return max((row + 1 for row in range(len(lengths)) if lengths[row]), default=0)


class _Store:
    """Keys and values [R G S K] of one attention, with room for S positions in each of the R rows."""

    def __init__(self) -> None:
        self.keys: Any = None
        self.values: Any = None

    def reserve(self, like: Any, num_rows: int, num_used: int, length: int) -> None:
        """Make room for `length` positions in arrays such as `like` [B G T K]; what `num_used` rows hold stays."""
        self.keys = _grown(self.keys, like, num_rows, num_used, length)
        self.values = _grown(self.values, like, num_rows, num_used, length)

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a row to another one."""
        if self.keys is not None:
            self.keys[target, :, :length] = self.keys[source, :, :length]
            self.values[target, :, :length] = self.values[source, :, :length]


class LayerCache:
    """The part of one self-attention: its keys and values for the rows that the model sees."""

    is_filled = False  # every forward pass brings new keys and values

    def __init__(self, cache: KVCache, store: _Store) -> None:
        self._cache, self._store = cache, store

    def update(self, k: ArrayLike, v: ArrayLike) -> tuple[Any, Any]:
        """Store the keys and values [B G T K] of new tokens and return all so far [B G S K].

        S is the length of the longest row; a shorter one has unused positions at its end, which the mask hides.
        """
        new_keys, new_values = _array_of(k), _array_of(v)
        cache, store, num_new = self._cache, self._store, new_keys.shape[2]
        shortest, longest = cache._shortest_and_longest()
        end = longest + num_new
        if store.keys is None or store.keys.shape[2] < end:
            store.reserve(new_keys, len(cache._all_lengths), cache._num_used(), min(_round_up(end), cache.max_seq_len))
        rows = slice(cache._first, cache._first + len(cache.lengths))
        keys, values = store.keys[rows, :, :end], store.values[rows, :, :end]
        if shortest == longest:
            keys[:, :, shortest:], values[:, :, shortest:] = new_keys, new_values
        else:
            for row, start in enumerate(map(int, cache.lengths)):
                at = (row, slice(None), slice(start, start + num_new))
                keys[at], values[at] = new_keys[row], new_values[row]
        return keys, values


class EncoderDecoderCache(KVCache):
    """What a decoder has computed: of its own tokens, and of the encoder's output for each row's source."""

    def __init__(self, num_layers: int, num_rows: int, max_seq_len: int) -> None:
        super().__init__(num_layers, num_rows, max_seq_len)
        xp = namespace_of([])
        self._cross_stores = [_Store() for _ in range(num_layers)]
        self._source_lengths = xp.zeros(num_rows, dtype=xp.int64)
        self._source_numbers = xp.zeros(num_rows, dtype=xp.int64)  # rows of one number hold the same source
        self._masks = _Store()  # its keys: where the sources are real, laid out as [R 1 S 1]

    def layer(self, number: int) -> DecoderLayerCache:
        """Return the parts of one decoder layer."""
        return DecoderLayerCache(LayerCache(self, self._stores[number]), CrossCache(self, self._cross_stores[number]))

    @property
    def source_mask(self) -> Any:
        """The mask [B S], True where the rows' sources hold a token, as long as the longest of them."""
        return self._masks.keys[self._row_slice(), 0, : self._longest_source(), 0]

    def set_sources(self, mask: Any) -> None:
        """Give the rows, which hold no tokens yet, new sources: the mask [B S] is True where they hold a token.

        The next forward pass stores their keys and values.
        """
        rows, (count, length) = self._row_slice(), mask.shape
        mask = mask[:, None, :, None]
        self._masks.reserve(mask, len(self._all_lengths), len(self._all_lengths), length)
        self._masks.keys[rows] = False
        self._masks.keys[rows, :, :length] = mask
        self._source_lengths[rows] = length
        for row in range(rows.start, rows.start + count):
            self._source_numbers[row] = next(_number)

    def copy_row(self, source: int, target: int) -> None:
        """Make the row `target` hold what the row `source` holds; a source that both have is not copied."""
        super().copy_row(source, target)
        source, target = self._first + source, self._first + target
        if self._source_numbers[source] == self._source_numbers[target]:
            return
        self._masks.keys[target] = False  # a longer source may have lain there
        for store in (*self._cross_stores, self._masks):
            store.copy_row(source, target, int(self._source_lengths[source]))
        self._source_lengths[target] = self._source_lengths[source]
        self._source_numbers[target] = self._source_numbers[source]

    def _row_slice(self) -> slice:
        return slice(self._first, self._first + len(self.lengths))

    def _longest_source(self) -> int:
        return int(max(self._source_lengths[self._row_slice()]))


class DecoderLayerCache(NamedTuple):
    """The parts of a decoder layer's two attentions."""

    itself: LayerCache
    cross: CrossCache


class CrossCache:
    """The part of one attention to the encoder's output, whose keys and values stay the same from token to token."""

    def __init__(self, cache: EncoderDecoderCache, store: _Store) -> None:
        self._cache, self._store = cache, store

    @property
    def is_filled(self) -> bool:
        """Whether the keys and values of the rows' sources are kept: they are as soon as the rows hold tokens."""
        return int(self._cache.lengths[0]) > 0

    def update(self, k: ArrayLike | None, v: ArrayLike | None) -> tuple[Any, Any]:
        """Store the keys and values [B G S K] of the rows' sources, or none where they are kept, and return them."""
        cache, store = self._cache, self._store
        rows = cache._row_slice()
        if k is not None and v is not None:
            new_keys, new_values = _array_of(k), _array_of(v)
            length = new_keys.shape[2]
            num_rows = len(cache._all_lengths)
            store.reserve(new_keys, num_rows, num_rows, length)  # a cleared row's source may be wanted again
            store.keys[rows, :, :length], store.values[rows, :, :length] = new_keys, new_values
            cache._source_lengths[rows] = length
        longest = cache._longest_source()
        return store.keys[rows, :, :longest], store.values[rows, :, :longest]


def _grown(array: Any, like: Any, num_rows: int, num_used: int, length: int) -> Any:
    """Return an array with room for `length` positions [R G S K]: the old one where it has it, or one with its contents."""
    if array is not None and array.shape[2] >= length:
        return array
    xp = namespace_of(like)
    grown = xp.zeros((num_rows, like.shape[1], length, like.shape[3]), dtype=like.dtype)
    if array is not None:
        grown[:num_used, :, : array.shape[2]] = array[:num_used]
    return grown


def _round_up(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def _array_of(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x
