"""Arrays in memory that forked processes share."""

from __future__ import annotations

import math
import mmap

import numpy as np
from numpy.typing import DTypeLike


def shared_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return zeros whose later values are seen by this process and all forked from it."""
    count = math.prod(shape)
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)
