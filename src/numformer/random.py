"""Explicit random generators, each derived from a key such as (seed, step, shard, site); there is no global generator.

A random layer asks for a generator at every call. Inside `with use(Stream(seed, step, shard))` the calls of the thread are
numbered from 1 and each gets the generator of its own number (its site), so a training step draws the same numbers
whatever thread it runs on. Outside, the layer counts its own calls on a stream of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from numformer.errors import InputError

Generator = np.random.Generator  # what layers draw their weights with, for those who import no NumPy


def generator(*key: int) -> np.random.Generator:
    """Return the generator that belongs to a key of non-negative integers; raises InputError for a negative one."""
    if min(key, default=0) < 0:
        raise InputError(f"a seed must be at least 0, got {min(key)}")
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((len(key), *key))))


def fresh() -> np.random.Generator:
    """Return a generator seeded by the operating system."""
    return generator(*Stream().key)


class Stream:
    """A sequence of independent generators under one key; without a key, one from the operating system's entropy."""

    def __init__(self, *key: int) -> None:
        self.key = key or (int(np.random.SeedSequence().entropy),)  # type: ignore[arg-type]
        self.count = 0

    def next_key(self) -> tuple[int, ...]:
        """Return the next key under this one."""
        self.count += 1
        return (*self.key, self.count)


class Replay(Stream):
    """Hands out keys that were drawn before, in the same order."""

    def __init__(self, keys: Sequence[tuple[int, ...]]) -> None:
        self.keys = iter(keys)

    def next_key(self) -> tuple[int, ...]:
        """Return the next of the recorded keys."""
        return next(self.keys)


class _Current(threading.local):
    stream: Stream | None = None
    drawn: list[tuple[int, ...]] | None = None


_current = _Current()


@contextmanager
def use(stream: Stream) -> Iterator[None]:
    """Draw every random number of this thread from `stream` while the block runs."""
    before, _current.stream = _current.stream, stream
    try:
        yield
    finally:
        _current.stream = before


@contextmanager
def record() -> Iterator[list[tuple[int, ...]]]:
    """Collect the keys that this thread draws while the block runs."""
    before, _current.drawn = _current.drawn, []
    try:
        yield _current.drawn
    finally:
        if before is not None:
            before += _current.drawn
        _current.drawn = before


def next_key(default: Stream) -> tuple[int, ...]:
    """Return the next key of the stream in use, or of `default` when none is."""
    key = (_current.stream or default).next_key()
    if _current.drawn is not None:
        _current.drawn.append(key)
    return key
