"""Several cores at work on one batch: processes that each take some shards, threads where processes are not to be had.

NumPy gives up Python's global lock around every array operation and takes it back after, so two threads of one model wait
for each other at every step of the tape. Processes made by fork do not: they see the same weights in shared memory, make
their own part of the batch, and answer with a loss; gradients come back through shared memory. Inside each, every matrix
product runs on one thread. No result depends on how many there are.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import platform
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, Self

from numformer.autograd import is_watched
from numformer.errors import InputError

Work = Callable[[int, int], Any]  # of a step and the number of a shard


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A context for work on `num_workers` cores, with BLAS held to one thread in each."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = 1 if is_watched() else num_workers  # `capture` and `intervene` see this thread alone
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        from threadpoolctl import threadpool_limits

        _keep_freed_memory()
        self._stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
        if self.num_workers > 1:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.num_workers))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def map(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        """Apply the function to every item, on threads, and yield the results in order."""
        return map(function, *items) if self._pool is None else self._pool.map(function, *items)

    def team(self, work: Work, count: int) -> Team:
        """Return a team that does `work(step, number)` for the numbers below `count`, as often as it is asked."""
        team = Team(work, count, self)
        self._stack.callback(team.close)
        return team


class Team:
    """Processes that hold a copy of everything there was when the team was made; this one does its part too."""

    def __init__(self, work: Work, count: int, workers: Workers) -> None:
        self.work, self.count, self.workers = work, count, workers
        size = min(workers.num_workers, count) if sys.platform == "linux" else 1  # elsewhere fork is not safe
        self.shares = [range(first, count, size) for first in range(size)]
        self.connections: list[Connection] = []
        self.processes = [self._start(share) for share in self.shares[1:]]

    def run(self, step: int) -> list[Any]:
        """Return the results of a step in the order of their numbers; raises what the work raised."""
        if not self.processes:
            return list(self.workers.map(self.work, [step] * self.count, range(self.count)))
        for connection in self.connections:
            with contextlib.suppress(OSError):  # a dead process is reported when its answer is missing
                connection.send(step)
        answers = [[self.work(step, number) for number in self.shares[0]]]
        answers += [_receive(connection) for connection in self.connections]
        return [answers[number % len(answers)][number // len(answers)] for number in range(self.count)]

    def close(self) -> None:
        """End the processes."""
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            process.join(timeout=5.0)
            process.kill()
            process.join()

    def _start(self, share: range) -> Any:
        here, there = multiprocessing.Pipe()
        self.connections.append(here)
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(there, self, share), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # BLAS has threads, but they end before a fork
            process.start()
        there.close()
        return process


def _serve(connection: Connection, team: Team, share: range) -> None:
    """Answer steps until the other end is closed, or its process has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that a person started
    for inherited in team.connections:
        inherited.close()
    try:
        while True:
            step = connection.recv()
            try:
                answer: Any = [team.work(step, number) for number in share]
            except Exception as error:
                answer = error
            connection.send(answer)
    except (EOFError, OSError):
        os._exit(0)  # without the clean-up that belongs to the process forked from


def _receive(connection: Connection) -> list[Any]:
    try:
        answer = connection.recv()
    except (EOFError, OSError):
        raise InputError("a worker process has died, perhaps for want of memory: try more accumulation") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed arrays for the next step instead of returning their pages (SPEED: 16 % of a step)."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold, large = -1, -3, 1 << 30
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, large)
        libc.mallopt(trim_threshold, large)
