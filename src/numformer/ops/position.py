"""Positions: rotary embeddings, the sinusoidal table, and buckets of distances."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from numformer.autograd import Need, Result, namespace_of, op
from numformer.autograd.storage import load, save
from numformer.errors import InputError


@op
def rope(
    x: np.ndarray,
    positions: np.ndarray,
    *,
    need: Need,
    theta: float = 10000.0,
    frequencies: tuple[float, ...] | None = None,
) -> Result:
    """Rotate each pair (i, i + K/2) of a head by position · theta^(-2i/K) (Su et al. 2021, arXiv:2104.09864).

    x [B H T K], positions [B T] < 99 -> [B H T K]
    x [B H T K], positions [T] < 99 -> [B H T K]
    x [B H T K], positions [T] < 99 -> [B H T K] with frequencies=(0.3,)

    `frequencies` take the place of the powers of theta: R/2 of them rotate the pairs (i, i + R/2) of the first R numbers of
    a head, and the rest of it stays. A rotation is orthogonal, so the pullback rotates back. The pairing is that of Llama.
    Raises InputError when K is odd or there are more frequencies than pairs, and for a negative position.
    """
    frequencies = checked_frequencies(x.shape[-1], theta, frequencies)
    cos, sin = _turns(positions, frequencies, x.dtype.char)
    if positions.ndim == 2:
        cos, sin = cos[:, None], sin[:, None]
    kept_cos, kept_sin = save(cos, need), save(sin, need)
    return _rotate(x, cos, sin), lambda dy: (_rotate(dy, load(kept_cos), -load(kept_sin)), None)  # by the angle back


def checked_frequencies(width: int, theta: float, frequencies: tuple[float, ...] | None) -> tuple[float, ...]:
    """Return the frequencies for a head of a width; raises InputError where they do not fit it."""
    if frequencies is None:
        if width % 2:
            raise InputError(f"rope: the head width must be even, got {width}")
        frequencies = rope_frequencies(width, theta)
    frequencies = frequencies if width else ()
    if width < 2 * len(frequencies):
        raise InputError(f"rope: {len(frequencies)} frequencies are too many for a head of width {width}")
    return frequencies


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Turn the pairs of x [.. K]: (a cos - b sin, b cos + a sin), with cos [.. 1 R/2] and sin [.. 2 R/2], -sin first."""
    half = cos.shape[-1]
    pairs = (x if 2 * half == x.shape[-1] else x[..., : 2 * half]).reshape(*x.shape[:-1], 2, half)
    turned = pairs * cos
    turned += pairs[..., ::-1, :] * sin
    turned = turned.reshape(*x.shape[:-1], 2 * half)
    return turned if 2 * half == x.shape[-1] else np.concatenate([turned, x[..., 2 * half :]], axis=-1)


@functools.lru_cache(maxsize=64)
def rope_frequencies(width: int, theta: float) -> tuple[float, ...]:
    """Return the angles theta^(-2i/width) by which one position more turns the pairs of a head, width/2 of them."""
    return tuple(theta ** (-i / width) for i in range(0, width, 2))


@functools.lru_cache(maxsize=8)
def _table(length: int, frequencies: tuple[float, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of position · frequency, each [length R/2], rounded once from float64."""
    angles = np.outer(np.arange(length), frequencies)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


@functools.lru_cache(maxsize=8)
def _turn_table(length: int, frequencies: tuple[float, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return cos [length 1 R/2] and sin [length 2 R/2] as `_rotate` takes them."""
    cos, sin = _table(length, frequencies, dtype)
    return cos[:, None], np.stack([-sin, sin], axis=1)


def _turns(positions: np.ndarray, frequencies: tuple[float, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_rotate` takes for positions [..]; lengths of tables are rounded up so that few are made."""
    if positions.size == 1:  # as for every new token, which many layers ask about
        return _turn(int(positions.item()), positions.ndim, frequencies, dtype)
    first, last = (int(positions.min()), int(positions.max())) if positions.size else (0, 0)
    cos, sin = _turn_table(_length_for(first, last), frequencies, dtype)
    return cos[positions], sin[positions]


@functools.lru_cache(maxsize=64)
def _turn(position: int, ndim: int, frequencies: tuple[float, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = _turn_table(_length_for(position, position), frequencies, dtype)
    at = (None,) * (ndim - 1) + (slice(position, position + 1),)
    return cos[at], sin[at]


def _length_for(first: int, last: int) -> int:
    if first < 0:
        raise InputError(f"rope: a position must be at least 0, got {first}")
    return max(64, 1 << last.bit_length())


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Return the table [length width] with sines in even and cosines in odd columns (Vaswani et al. 2017, §3.5)."""
    cos, sin = _table(length, rope_frequencies(width + width % 2, 10000.0), "f")
    return np.stack([sin, cos], axis=-1).reshape(length, -1)[:, :width]


def relative_buckets(distances: Any, num_buckets: int, max_distance: int, *, both_ways: bool) -> Any:
    """Return the bucket of every distance from a query to a key (Raffel et al. 2020, arXiv:1910.10683, §2.1).

    Half of the buckets are for single distances, the others for ranges that grow up to `max_distance`, and the last holds
    all beyond. With `both_ways` keys after the query have half of all buckets; otherwise they count as distance 0.
    `distances` are an array of any kind.
    """
    xp = namespace_of(distances)
    num_buckets = num_buckets // 2 if both_ways else num_buckets
    steps = xp.abs(distances) if both_ways else xp.maximum(-distances, 0)
    table = xp.asarray(_bucket_table(num_buckets, max_distance))  # so that no kind of array rounds in its own way
    buckets = table[xp.minimum(steps, max_distance)]
    return xp.where(distances > 0, num_buckets, 0) + buckets if both_ways else buckets


@functools.lru_cache(maxsize=8)
def _bucket_table(num_buckets: int, max_distance: int) -> np.ndarray:
    """Return the bucket of every number of steps from 0 to `max_distance`."""
    steps, num_single = np.arange(max_distance + 1), num_buckets // 2
    ratios = np.log(np.maximum(steps, 1).astype(np.float32) / num_single) / math.log(max_distance / num_single)
    ranges = num_single + (ratios * (num_buckets - num_single)).astype(
        np.int64
    )  # rounded as where the weights come from
    return np.where(steps < num_single, steps, np.minimum(ranges, num_buckets - 1))
