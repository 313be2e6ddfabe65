"""Threads that each run one shard, with BLAS held to one thread inside each."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A context in which `map` runs a function on several threads and yields the results in order.

    Every matrix product inside runs on one thread: whole shards scale better than single products, and the bits of a
    result do not depend on the number of threads.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        from threadpoolctl import threadpool_limits

        _keep_freed_memory()
        self._stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
        if self.num_threads > 1:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.num_threads))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def map(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        """Apply the function to every item."""
        return map(function, *items) if self._pool is None else self._pool.map(function, *items)


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed arrays for the next step instead of returning their pages (SPEED: 16 % of a step)."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold, large = -1, -3, 1 << 30
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, large)
        libc.mallopt(trim_threshold, large)
