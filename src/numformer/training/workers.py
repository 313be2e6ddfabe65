"""Several cores at work on one batch: processes that each take some shards, threads where processes are not to be had.

NumPy gives up Python's global lock around every array operation and takes it back after, so two threads of one model wait
for each other at every step of the tape. Processes made by fork do not: they see the same weights in shared memory, make
their own part of the batch, and answer with a loss; gradients come back through shared memory. Inside each, every matrix
product runs on one thread. No result depends on how many there are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Self

from numformer._memory import keep_freed_memory
from numformer.autograd import is_watched
from numformer.training.team import Team, Work


def num_cores() -> int:
    """Return how many cores this process may use, which a container or taskset can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A context for work on `num_workers` cores, with BLAS held to one thread in each."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = 1 if is_watched() else num_workers  # `capture` and `intervene` see this thread alone
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        keep_freed_memory(1 << 30)
        self._stack.enter_context(_single_threaded_blas())
        if self.num_workers > 1:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.num_workers))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def map(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        """Apply the function to every item, on threads, and yield the results in order."""
        return map(function, *items) if self._pool is None else self._pool.map(function, *items)

    def hold(self, context: AbstractContextManager[Any]) -> None:
        """Enter a context that ends with the workers, after the teams that were made later."""
        self._stack.enter_context(context)

    def team(self, work: Work, count: int) -> Team:
        """Return a team that does `work(step, number)` for the numbers below `count`, as often as it is asked."""
        team = Team(work, count, self.num_workers, self.map)
        self._stack.callback(team.close)
        return team


_lock = threading.Lock()
_limit = ExitStack()
_num_inside = 0  # The contexts that are open now, in all threads.


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread until the last of all contexts that overlap has ended, in whatever order they end."""
    from threadpoolctl import threadpool_limits

    global _num_inside
    with _lock:
        if _num_inside == 0:
            _limit.enter_context(threadpool_limits(limits=1, user_api="blas"))
        _num_inside += 1
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                _limit.close()
