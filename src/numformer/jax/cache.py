"""A cache of keys and values inside a compiled function: arrays of a fixed size go in, and new ones come out.

It has the interface of `numformer.nn.cache`, so models read it as they read that one. A position that a row has not filled
yet holds anything, and the mask hides it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

Pair = tuple[Any, Any]
"""Keys and values of one attention for R rows with room for S positions, each [R S G K]: as jax.nn attends to them."""


class Stores(NamedTuple):
    """The arrays of a cache, by the numbers of the layers; the last two are those of an encoder-decoder's sources."""

    itself: dict[int, Pair]
    cross: dict[int, Pair]
    source_mask: Any = None  # [R S], True where a source holds a token


class FixedCache:
    """Keys and values for rows that hold `lengths` [B] tokens each, with room for `room` tokens, and for a source.

    `stores` are not written to: `results` gives what they are after a forward pass. With `reads_source` the pass stores what
    the encoder says of the sources under the mask [B S], otherwise that was stored before.
    """

    def __init__(self, stores: Stores, lengths: Any, room: int, source_room: int = 0, source_mask: Any = None) -> None:
        self.lengths, self.room, self.source_room = lengths, room, source_room
        self.reads_source = source_mask is not None
        self.itself, self.cross = dict(stores.itself), dict(stores.cross)
        self.source_mask = stores.source_mask
        if self.reads_source:
            self.source_mask = (
                jnp.zeros((len(lengths), source_room), bool).at[:, : source_mask.shape[1]].set(source_mask)
            )

    @property
    def results(self) -> Stores:
        """The arrays with what was stored."""
        return Stores(self.itself, self.cross, self.source_mask)

    def layer(self, number: int) -> Layer:
        """Return one layer's part."""
        return Layer(self, number)

    def positions_and_mask(self, num_new: int) -> Pair:
        """Return the positions [B T] of the next `num_new` tokens, and the mask [B 1 T S] of what they may attend to."""
        positions = self.lengths[:, None] + jnp.arange(num_new)
        return positions, jnp.arange(self.room) <= positions[:, None, :, None]

    def advance(self, num_new: int) -> None:
        """Leave the counting to those who run the compiled function."""


class Layer:
    """The part of one layer: of a decoder-only model that of its self-attention, else both by name."""

    is_filled = False

    def __init__(self, cache: FixedCache, number: int) -> None:
        self._cache, self._number = cache, number

    @property
    def itself(self) -> Layer:
        """The part of the layer's self-attention."""
        return self

    @property
    def cross(self) -> Cross:
        """The part of its attention to the encoder's output."""
        return Cross(self._cache, self._number)

    def update(self, k: Any, v: Any) -> Pair:
        """Store the keys and values [B G T K] of new tokens and return all there is room for [B G S K].

        What does not fit is dropped: the padding of a row that is nearly full.
        """
        cache = self._cache
        rows = jnp.arange(k.shape[0])[:, None]
        at = cache.lengths[:, None] + jnp.arange(k.shape[2])
        stored = cache.itself.get(self._number) or (_empty(k, cache.room), _empty(v, cache.room))
        new = tuple(x.at[rows, at].set(y.swapaxes(1, 2), mode="drop") for x, y in zip(stored, (k, v), strict=True))
        cache.itself[self._number] = keys, values = new
        return keys.swapaxes(1, 2), values.swapaxes(1, 2)


class Cross:
    """The part of one attention to the encoder's output."""

    def __init__(self, cache: FixedCache, number: int) -> None:
        self._cache, self._number = cache, number

    @property
    def is_filled(self) -> bool:
        """Whether the keys and values of the sources were stored by an earlier pass."""
        return not self._cache.reads_source

    def update(self, k: Any, v: Any) -> Pair:
        """Store the keys and values [B G S K] of the sources, or none where they are kept, and return them."""
        cache = self._cache
        if k is not None:
            padding = [(0, 0), (0, cache.source_room - k.shape[2]), (0, 0), (0, 0)]
            cache.cross[self._number] = jnp.pad(k.swapaxes(1, 2), padding), jnp.pad(v.swapaxes(1, 2), padding)
        keys, values = cache.cross[self._number]
        return keys.swapaxes(1, 2), values.swapaxes(1, 2)


def _empty(like: Any, room: int) -> Any:
    """Return zeros [B S G K] for arrays such as `like` [B G T K]."""
    rows, heads, _, width = like.shape
    return jnp.zeros((rows, room, heads, width), like.dtype)
