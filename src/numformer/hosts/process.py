"""The process that trains, forked from its keeper, and what it tells it."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from numformer.errors import InputError
from numformer.hosts.group import HostGroup, Stream
from numformer.hosts.keeper import Keeper
from numformer.hosts.roll_call import Streams

_keeper: Stream | None = None  # of this process; None where it trains alone


def reached(step: int) -> None:
    """Tell the keeper, where there is one, that a step was made."""
    if _keeper is not None:
        _keeper.send("step", step)


@contextmanager
def kept(hosts: HostGroup, streams: Streams, again: str) -> Iterator[None]:
    """Go on in a process of its own, which this one keeps: it leaves by SystemExit when the training has ended.

    An error ends the training process at once: JAX would wait for the other hosts.
    """
    if not hasattr(os, "fork"):
        raise InputError(f"several hosts train together on Linux and macOS, not on {sys.platform}")
    global _keeper
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # The threads of BLAS end before a fork.
        pid = os.fork()
    if pid:
        theirs.close()
        raise SystemExit(Keeper(hosts, streams, pid, Stream(ours), again).run())
    ours.close()
    for stream in streams.values():
        stream.close()
    os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the keeper alone, which passes it on once.
    _keeper = Stream(theirs)
    threading.Thread(target=_end_with_keeper, args=(theirs,), daemon=True).start()
    try:
        yield
    except InputError as error:
        _end(_keeper, "sentence", str(error), 2)
    except OSError as error:
        _end(_keeper, "sentence", f"{error.filename or 'input/output'}: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        _end(_keeper, "sentence", "interrupted", 130)
    except BaseException:
        _end(_keeper, "failure", traceback.format_exc(), 1)


def _end(keeper: Stream, kind: str, text: str, status: int) -> None:
    keeper.send(kind, text)
    sys.stdout.flush()
    os._exit(status)


def _end_with_keeper(stream: socket.socket) -> None:
    """End this process when its keeper is gone, which says nothing as long as it lives."""
    select.select([stream], [], [])
    os._exit(2)
