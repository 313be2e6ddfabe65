"""The keeper of a host: a process beside the one that trains, which hears of the other hosts and says how a training ended.

When a host is lost, JAX aborts the others or lets them wait, in its own words and after its own time. So every training runs
in a process of its own. The one that was started keeps the streams of the roll call: over them the hosts tell each other
that they are there, with what sentence they end, or, all through the first, who was lost. It ends its training then.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from numformer._notices import say
from numformer.hosts import group
from numformer.hosts.group import HostGroup, Stream
from numformer.hosts.roll_call import Streams

BEAT = 2.0  # seconds between two signs of life
SILENCE = (
    30.0  # seconds without one after which a host counts as lost: its machine stands still, or the network is gone
)
GRACE = 10.0  # seconds in which others may explain why this host's training has failed

TRAINING = -1  # stands for the training process where others have the number of their host


class Keeper:
    """Keeps a training process, with the stream from it and those to other hosts; `again` is the command that goes on."""

    def __init__(self, hosts: HostGroup, streams: Streams, pid: int, training: Stream, again: str) -> None:
        self.hosts, self.pid, self.again = hosts, pid, again
        self.others, self.streams = streams, {**streams, TRAINING: training}
        self.step = 0  # the last one that the training has made
        self.status: int | None = None  # of the training, once it has ended
        self.sentence: str | None = None  # that it ends with
        self.failure = ""  # what it says when it ends by something that nobody has foreseen
        # The first other host that has ended, and its sentence, which is empty for one that was lost.
        self.word: tuple[int, str] | None = None
        self._gone: set[int] = set()  # who has said goodbye, or has no more to say
        self._beaten = 0.0

    def run(self) -> int:
        """Keep the training until it ends, or another host does; returns the exit status."""
        before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        for stream in self.others.values():
            stream.heard = time.monotonic()  # The roll call may have taken long.
        try:
            self._turn_until(lambda: self.status is not None or self.word is not None)
            if self.word is not None:
                # A sentence may be that of all hosts, and this one then says it itself.
                self._turn_until(lambda: self.status is not None, group.PATIENCE if self.word[1] else 0.0)
                self._end_training()
            elif self._has_failed():
                failed = time.monotonic()
                self._turn_until(lambda: self.word is not None, GRACE)
                self._miss(failed)
            return self._end()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for stream in self.streams.values():
                stream.close()

    def _pass_on(self, number: int, frame: Any) -> None:
        """Ask the training to stop after its step: for Ctrl-C, and for a cluster that wants its machine back."""
        if self.status is None:
            os.kill(self.pid, signal.SIGINT)

    def _turn_until(self, is_enough: Callable[[], bool], timeout: float = float("inf")) -> None:
        """Hear and beat until something has happened, or so many seconds are over."""
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            for number in self.streams.keys() - self._gone:
                selector.register(self.streams[number].socket, selectors.EVENT_READ, number)
            while not is_enough() and (left := end - time.monotonic()) > 0:
                for key, _ in selector.select(min(BEAT, left)):
                    self._hear(key.data)
                    if key.data in self._gone:
                        selector.unregister(key.fileobj)
                if time.monotonic() - self._beaten >= BEAT:
                    self._beaten = time.monotonic()
                    for stream in self.others.values():
                        stream.send("beat")
                self._miss(time.monotonic() - SILENCE)

    def _hear(self, number: int) -> None:
        """Take what has arrived from a host, or from the training."""
        messages = self.streams[number].arrived()
        for kind, *facts in messages or ():
            if kind == "step":
                (self.step,) = facts
            elif kind == "failure":
                (self.failure,) = facts
            elif kind == "sentence":
                (self.sentence,) = facts
            elif kind == "end":
                self._note(*facts)
            elif kind == "goodbye":
                self._gone.add(number)
        if messages is None and number == TRAINING:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        elif messages is None and number not in self._gone:
            self._note(number, "")
        if messages is None:
            self._gone.add(number)

    def _miss(self, since: float) -> None:
        """Take a host for lost that has said nothing since then."""
        for number, stream in self.others.items():
            if number not in self._gone and stream.heard < since:
                self._note(number, "")

    def _note(self, number: int, sentence: str) -> None:
        """Keep the first word of a host that has ended; the first host passes it on."""
        if self.word is None:
            self.word = number, sentence
            if self.hosts.host == 0:
                self._tell(number, sentence)

    def _tell(self, number: int, sentence: str) -> None:
        for stream in self.others.values():
            stream.send("end", number, sentence)

    def _end_training(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _was_killed(self) -> bool:
        return self.status in (-signal.SIGKILL, -signal.SIGTERM)

    def _has_failed(self) -> bool:
        """Tell whether the training ended in a way that the loss of another host may explain."""
        return self.status not in (0, 130) and self.sentence is None and not self._was_killed()

    def _end(self) -> int:
        """Say how the training ended, to the other hosts too, and return the exit status."""
        own, status = self.hosts.host, 2
        if self.sentence is not None:
            self._tell(own, self.sentence)
            what, status = self.sentence, 130 if self.status == 130 else 2
        elif self.status in (0, 130):
            for stream in self.others.values():
                stream.send("goodbye")
            return self.status
        elif self.word is not None:
            number, sentence = self.word
            what = f"host {number} ended: {sentence}" if sentence else self._lost(f"host {number} was lost")
        elif self._was_killed():
            self._tell(own, "")
            what = self._lost(f"the process that trains was killed ({signal.Signals(-(self.status or 0)).name})")
        else:
            what = self.failure.strip() or f"the training ended with status {self.status}, and no other host says why"
            self._tell(own, what.splitlines()[-1])
            what, status = f"the training has failed\n{what}", 1
        # The live line of a training that was killed leaves no cursor behind.
        cursor = "\033[?25h\n" if sys.stderr.isatty() else ""
        say(f"{cursor}numformer: {self.hosts}: {what}")
        return status

    def _lost(self, what: str) -> str:
        """Say what happened, when, and how to go on."""
        if not self.step:
            return f"{what} before a step was made"
        return f"{what} at step {self.step}; the run goes on from its last checkpoint with: {self.again}"
