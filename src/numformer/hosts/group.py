"""The hosts that train together, and the streams of messages between them."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numformer.errors import InputError

PATIENCE = 2.0  # seconds for a message that is on its way


@dataclass(frozen=True)
class HostGroup:
    """The hosts of a training: how many, which of them this process is, and where the first one is found."""

    hosts: int
    host: int
    coordinator: str
    devices: Sequence[int] | None = None  # of this machine that are this process's own; None for all

    def __post_init__(self) -> None:
        name, _, port = self.coordinator.rpartition(":")
        if self.hosts < 1:
            raise InputError(f"--hosts must be at least 1, got {self.hosts}")
        if not 0 <= self.host < self.hosts:
            raise InputError(f"--host must be from 0 to {self.hosts - 1} for --hosts {self.hosts}, got {self.host}")
        if not name or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise InputError(f"--coordinator must be ADDRESS:PORT of host 0, got {self.coordinator!r}")

    @property
    def address(self) -> tuple[str, int]:
        """Where the first host listens, as sockets take it."""
        name, _, port = self.coordinator.rpartition(":")
        return name.strip("[]"), int(port)

    def __str__(self) -> str:
        return f"host {self.host} of {self.hosts}"


class Stream:
    """One end of a connection, over which messages go: a line of JSON each."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.heard = time.monotonic()  # when the other end has last said something
        self._read = b""
        connection.settimeout(PATIENCE)

    def send(self, *message: Any) -> None:
        """Send a message; what nobody takes any more is dropped, since the end of the stream tells of that."""
        with contextlib.suppress(OSError):
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float) -> list[Any]:
        """Wait for one message; raises OSError when there is none within so many seconds, ValueError for something else."""
        end = time.monotonic() + timeout
        while b"\n" not in self._read:
            if (left := end - time.monotonic()) <= 0.0:
                raise TimeoutError("no whole message in time")
            self.socket.settimeout(left)
            if not (piece := self.socket.recv(1 << 16)):
                raise ConnectionError("the stream has ended")
            self._read += piece
        self.socket.settimeout(PATIENCE)
        line, _, self._read = self._read.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, list):
            raise ValueError(f"no message: {line!r:.60}")
        return message

    def arrived(self) -> list[list[Any]] | None:
        """Return the messages that have arrived on a stream with something to read, None at its end."""
        try:
            piece = self.socket.recv(1 << 16)
        except OSError:
            piece = b""
        self.heard = time.monotonic()
        *lines, self._read = (self._read + piece).split(b"\n")
        return [json.loads(line) for line in lines] if lines or piece else None

    def close(self) -> None:
        """Close this process's end."""
        self.socket.close()
