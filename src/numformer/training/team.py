"""A team: processes forked from this one that do their part of every step beside it.

A process answers a step with its results, or with the exception that its work raised. All answers to a step are taken before
one of them is raised, so that none is left for the step after. Where fork is not safe, threads do the work.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

from numformer.errors import InputError

Work = Callable[[int, int], Any]  # It is called with a step and the number of a shard.

# This process's ends of the pipes of all its teams. A forked process closes those that it inherits: a pipe ends, and with it
# the process that listens, only when nobody else holds the other end open.
_own_ends: set[Connection] = set()


class Raised(NamedTuple):
    """What answers a step in place of results when the work raised an exception."""

    error: BaseException


class Team:
    """Processes that hold a copy of everything there was when the team was made; this one does its part too.

    `map_on_threads` does the work where there is one process only. Raises InputError when no process can be started.
    """

    def __init__(self, work: Work, count: int, num_workers: int, map_on_threads: Callable[..., Iterator[Any]]) -> None:
        self.work, self.count, self.map_on_threads = work, count, map_on_threads
        size = min(num_workers, count) if sys.platform == "linux" else 1  # Elsewhere fork is not safe.
        self.shares = [range(first, count, size) for first in range(size)]
        self.pids: list[int] = []
        self.is_closed = False
        self._connections: list[Connection] = []
        self._owner = os.getpid()
        try:
            for share in self.shares[1:]:
                self._start(share)
        except OSError as error:
            self.close()
            raise InputError(f"could not start a worker process ({error.strerror}): try fewer threads") from None

    def run(self, step: int) -> list[Any]:
        """Return the results of a step in the order of their numbers.

        Raises what the work raised, sys.exit included, once all processes have answered; a second Ctrl-C does not wait for
        them and ends the team. Raises InputError when a process has died, and when the team has ended.
        """
        if self.is_closed:
            raise InputError("this team of workers has ended, and another step was asked of it")
        answers = self._ask_processes(step) if self.pids else self._ask_threads(step)
        for answer in answers:
            if isinstance(answer, Raised):
                raise answer.error
        return [answers[number % len(answers)][number // len(answers)] for number in range(self.count)]

    def close(self) -> None:
        """End the processes at once, whatever they are doing."""
        self.is_closed = True
        for connection in self._connections:
            _own_ends.discard(connection)
            connection.close()
        for pid in self.pids if os.getpid() == self._owner else []:  # A fork of this process leaves them alone.
            with contextlib.suppress(OSError):  # A program that reaps all its children may have reaped these too.
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.pids = []

    def _start(self, share: range) -> None:
        here, there = multiprocessing.Pipe()
        self._connections.append(here)
        _own_ends.add(here)
        with there, warnings.catch_warnings():
            # BLAS has threads, but they end before a fork; JAX warns of its own, which the forked process never asks for.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            pid = os.fork()  # multiprocessing.Process is refused inside a multiprocessing.Pool.
            if pid == 0:
                try:
                    _serve(there, self.work, share)
                finally:
                    os._exit(0)  # The clean-up of a usual exit belongs to the process forked from.
        self.pids.append(pid)

    def _ask_processes(self, step: int) -> list[Any]:
        try:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # A dead process is reported when its answer is missing.
                    connection.send(step)
            own = _attempt(self.work, step, self.shares[0], (Exception, SystemExit))
            return [own, *map(_receive, self._connections)]
        except BaseException:  # What the others go on to answer belongs to no step.
            self.close()
            raise

    def _ask_threads(self, step: int) -> list[Any]:
        def attempt(number: int) -> Any:
            return _attempt(self.work, step, [number], (Exception, SystemExit))

        return list(self.map_on_threads(attempt, range(self.count)))


def _attempt(
    work: Work, step: int, numbers: Iterable[int], caught: type[BaseException] | tuple[type[BaseException], ...]
) -> list[Any] | Raised:
    try:
        return [work(step, number) for number in numbers]
    except caught as error:
        return Raised(error)


def _serve(connection: Connection, work: Work, share: range) -> None:
    """Answer steps until the other end is closed, or its process has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that a person started.
    for inherited in _own_ends:
        inherited.close()
    with contextlib.suppress(EOFError, OSError):
        while True:
            step = connection.recv()
            connection.send_bytes(_packed(_attempt(work, step, share, BaseException)))


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return Raised(InputError("a worker process has died, perhaps for want of memory: try more accumulation"))


def _packed(answer: list[Any] | Raised) -> Any:
    """Return the bytes of an answer; an exception that would not arrive as it is becomes one that names it."""
    if not isinstance(answer, Raised):
        try:
            return ForkingPickler.dumps(answer)
        except Exception as unfit:
            answer = Raised(unfit)
    error = answer.error if _arrives(answer.error) else _substitute(answer.error)
    if not isinstance(error, InputError):  # Its sentence says all there is to say.
        error.add_note(f"in a worker process:\n{''.join(traceback.format_exception(answer.error))}")
    return ForkingPickler.dumps(Raised(error))


def _arrives(error: BaseException) -> bool:
    """Tell whether another process would read the same exception, which one with its own `__init__` may not be."""
    try:
        copy = ForkingPickler.loads(ForkingPickler.dumps(error))
        return type(copy) is type(error) and str(copy) == str(error)
    except Exception:
        return False


def _substitute(error: BaseException) -> Exception:
    if isinstance(error, InputError):
        return InputError(str(error))
    return RuntimeError("".join(traceback.format_exception_only(error)).strip())
