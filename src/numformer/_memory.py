"""Memory of the system: shared by forked processes, mapped in large pages, and kept after use."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import platform

import numpy as np
from numpy.typing import DTypeLike

LARGE = 1 << 22  # bytes; less has few whole pages of 2 MB
_kept_below = 0


def shared_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return zeros whose later values are seen by this process and all forked from it."""
    count = math.prod(shape)
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)


def large_zeros(count: int) -> np.ndarray:
    """Return float32 zeros, in large pages where there are enough of them and the system has such pages.

    They come from the system itself: memory that was used before lies in small pages. Raises MemoryError as `np.zeros` does.
    """
    size = 4 * count
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(count, np.float32)
    try:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"the system has no {size:,} bytes: {error.strerror}") from None
    with contextlib.suppress(OSError):  # a system that was built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.float32, count)


def keep_freed_memory(below: int) -> None:
    """Ask glibc to keep freed arrays of up to so many bytes for the next ones, instead of returning their pages.

    That is 16 % of a training step, and an eighth of the time that a prompt takes. It is never asked for less than before.
    """
    global _kept_below
    if below > _kept_below and platform.libc_ver()[0] == "glibc":
        _kept_below, libc = below, ctypes.CDLL(None)
        trim_threshold, mmap_threshold = -1, -3
        libc.mallopt(mmap_threshold, below)
        libc.mallopt(trim_threshold, below)
