"""What a block of code asks of the calls inside it: whether ops are recorded, whether dropout acts, and who looks on.

All belong to the thread that runs the block and to nothing else, so one thread can measure a model while another trains
it, and no block leaves a trace in a model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Watcher(Protocol):
    """Sees the result of every op that runs in a block, and of every module (see `numformer.nn.capture`)."""

    def see_op(self, name: str, value: Any) -> Any:
        """Return the value of an op, or what takes its place."""


class _Mode(threading.local):
    recording = True
    evaluating = False
    watcher: Any = None
    storing = False  # whether pullbacks keep arrays in another form than their own: see storage.py


current = _Mode()


def is_recording() -> bool:
    """Tell whether this thread records ops at the moment."""
    return current.recording


def is_evaluating() -> bool:
    """Tell whether this thread is inside `inference()`, where no module drops anything, whatever its own mode."""
    return current.evaluating


def is_watched() -> bool:
    """Tell whether somebody looks on, who sees what this thread computes and nothing of what others do."""
    return current.watcher is not None


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Show `watcher` what this thread computes in the block, in place of whoever looked on before."""
    before, current.watcher = current.watcher, watcher
    try:
        yield
    finally:
        current.watcher = before


@contextmanager
def recording(wanted: bool) -> Iterator[None]:
    """Record the ops of this thread in the block, or do not."""
    before, current.recording = current.recording, wanted
    try:
        yield
    finally:
        current.recording = before


@contextmanager
def evaluating(wanted: bool = True) -> Iterator[None]:
    """Run the modules that this thread calls in the block without dropout; their own mode stays as it is."""
    before, current.evaluating = current.evaluating, wanted
    try:
        yield
    finally:
        current.evaluating = before


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing that this thread computes in the block, which saves the memory of a backward pass."""
    with recording(False):
        yield


@contextmanager
def inference() -> Iterator[None]:
    """Use models in the block as for prediction: without dropout and without a record for the backward pass."""
    before = current.recording, current.evaluating
    current.recording, current.evaluating = False, True
    try:
        yield
    finally:
        current.recording, current.evaluating = before
