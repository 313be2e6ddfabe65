"""Positions: rotary embeddings and the sinusoidal table."""

from __future__ import annotations

import functools

import numpy as np

from numformer.autograd import Need, Result, op
from numformer.autograd.storage import load, save
from numformer.errors import InputError


@op
def rope(x: np.ndarray, positions: np.ndarray, *, need: Need, theta: float = 10000.0) -> Result:
    """Rotate each pair (i, i + K/2) of a head by position · theta^(-2i/K) (Su et al. 2021, arXiv:2104.09864).

    x [B H T K], positions [B T] < 99 -> [B H T K]
    x [B H T K], positions [T] < 99 -> [B H T K]

    A rotation is orthogonal, so the pullback rotates back. The pairing is that of Llama.
    Raises InputError when K is odd, and for a negative position.
    """
    if x.shape[-1] % 2:
        raise InputError(f"rope: the head width must be even, got {x.shape[-1]}")
    if positions.size and positions.min() < 0:
        raise InputError(f"rope: a position must be at least 0, got {positions.min()}")
    cos, sin = _rotations(int(positions.max(initial=0)) + 1, x.shape[-1], theta, x.dtype.char)
    cos, sin = cos[positions], sin[positions]
    if positions.ndim == 2:
        cos, sin = cos[:, None], sin[:, None]
    kept_cos, kept_sin = save(cos, need), save(sin, need)
    return _rotate(x, cos, sin), lambda dy: (_rotate(dy, load(kept_cos), -load(kept_sin)), None)  # by the angle back


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


@functools.lru_cache(maxsize=8)
def _table(length: int, width: int, theta: float, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of position · theta^(-2i/width), each [length width/2], rounded once from float64."""
    angles = np.outer(np.arange(length), theta ** (-np.arange(0, width, 2) / width))
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def _rotations(length: int, width: int, theta: float, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of at least `length` positions; lengths are rounded up so that few tables are made."""
    return _table(max(64, 1 << (length - 1).bit_length()), width, theta, dtype)


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Return the table [length width] with sines in even and cosines in odd columns (Vaswani et al. 2017, §3.5)."""
    cos, sin = _table(length, width + width % 2, 10000.0, "f")
    return np.stack([sin, cos], axis=-1).reshape(length, -1)[:, :width]
