"""Positions: rotary embeddings, the sinusoidal table, and buckets of distances."""

from __future__ import annotations

import functools
import math

import numpy as np

from numformer.autograd import Need, Result, op
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
    width = x.shape[-1]
    if frequencies is None:
        if width % 2:
            raise InputError(f"rope: the head width must be even, got {width}")
        frequencies = rope_frequencies(width, theta)
    if 0 < width < 2 * len(frequencies):
        raise InputError(f"rope: {len(frequencies)} frequencies are too many for a head of width {width}")
    first, last = _range(positions)
    if first < 0:
        raise InputError(f"rope: a position must be at least 0, got {first}")
    cos, sin = _rotations(last + 1, frequencies, x.dtype.char)
    cos, sin = cos[positions], sin[positions]
    if positions.ndim == 2:
        cos, sin = cos[:, None], sin[:, None]
    kept_cos, kept_sin = save(cos, need), save(sin, need)
    return _rotate(x, cos, sin), lambda dy: (_rotate(dy, load(kept_cos), -load(kept_sin)), None)  # by the angle back


def _range(positions: np.ndarray) -> tuple[int, int]:
    """Return the smallest and the largest position, quickly where there is one alone, as for every new token."""
    if positions.size == 1:
        return (position := int(positions.item()), position)
    return (int(positions.min()), int(positions.max())) if positions.size else (0, 0)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    parts = [first * cos - second * sin, second * cos + first * sin]
    if 2 * half < x.shape[-1]:
        parts.append(x[..., 2 * half :])
    return np.concatenate(parts, axis=-1)


@functools.lru_cache(maxsize=64)
def rope_frequencies(width: int, theta: float) -> tuple[float, ...]:
    """Return the angles theta^(-2i/width) by which one position more turns the pairs of a head, width/2 of them."""
    return tuple(theta ** (-i / width) for i in range(0, width, 2))


@functools.lru_cache(maxsize=8)
def _table(length: int, frequencies: tuple[float, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of position · frequency, each [length R/2], rounded once from float64."""
    angles = np.outer(np.arange(length), frequencies)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def _rotations(length: int, frequencies: tuple[float, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of at least `length` positions; lengths are rounded up so that few tables are made."""
    return _table(max(64, 1 << (length - 1).bit_length()), frequencies, dtype)


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Return the table [length width] with sines in even and cosines in odd columns (Vaswani et al. 2017, §3.5)."""
    cos, sin = _table(length, rope_frequencies(width + width % 2, 10000.0), "f")
    return np.stack([sin, cos], axis=-1).reshape(length, -1)[:, :width]


def relative_buckets(distances: np.ndarray, num_buckets: int, max_distance: int, *, both_ways: bool) -> np.ndarray:
    """Return the bucket of every distance from a query to a key (Raffel et al. 2020, arXiv:1910.10683, §2.1).

    Half of the buckets are for single distances, the others for ranges that grow up to `max_distance`, and the last holds
    all beyond. With `both_ways` keys after the query have half of all buckets; otherwise they count as distance 0.
    """
    base = np.zeros(distances.shape, np.int64)
    if both_ways:
        num_buckets //= 2
        base = np.where(distances > 0, num_buckets, 0)
    steps = np.abs(distances) if both_ways else np.maximum(-distances, 0)
    num_single = num_buckets // 2
    ratios = np.log(np.maximum(steps, 1).astype(np.float32) / num_single) / math.log(max_distance / num_single)
    ranges = num_single + (ratios * (num_buckets - num_single)).astype(
        np.int64
    )  # rounded as where the weights come from
    return base + np.where(steps < num_single, steps, np.minimum(ranges, num_buckets - 1))
