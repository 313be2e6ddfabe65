"""Several processes that train together, each on a host of its own: who is there, whether they agree, and how they end.

JAX connects them, and aborts a process that waits for another in vain. So a roll call comes first, at the address where
JAX will then listen: the first host waits for all others within a bound, compares what they are about to do with its own
task, and tells everyone the verdict.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from numformer._notices import say
from numformer.errors import InputError

PATIENCE = 2.0  # seconds for a host that has come to say who it is, which it does at once


@dataclass(frozen=True)
class Team:
    """The hosts of a training: how many, which of them this process is, and where the first one is found."""

    hosts: int
    host: int
    coordinator: str
    devices: Any = None  # of this machine that are this process's own; None for all

    def __post_init__(self) -> None:
        name, _, port = self.coordinator.rpartition(":")
        if self.hosts < 1 or not 0 <= self.host < self.hosts:
            raise InputError(f"--host must be from 0 to {self.hosts - 1} for --hosts {self.hosts}, got {self.host}")
        if not name or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise InputError(f"--coordinator must be ADDRESS:PORT of host 0, got {self.coordinator!r}")

    @property
    def address(self) -> tuple[str, int]:
        """Where the first host listens, as sockets take it."""
        name, _, port = self.coordinator.rpartition(":")
        return name.strip("[]"), int(port)


def detected() -> Team:
    """Return the team that JAX finds: the tasks of a Slurm step, the pods of a Job, the hosts of a slice of TPUs.

    Raises InputError where it finds none.
    """
    from jax._src.clusters import ClusterEnv  # what jax.distributed.initialize itself asks

    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 60)
    except Exception as error:
        raise InputError(f"--hosts auto: JAX could not ask the cluster for the hosts: {error}") from error
    coordinator, hosts, host, devices = found
    if coordinator is None or hosts is None or host is None:
        raise InputError(
            "--hosts auto: JAX finds no cluster here; give --hosts N --host NUMBER --coordinator ADDRESS:PORT"
        )
    return Team(hosts, host, coordinator, devices)


@contextmanager
def joined(team: Team, task: Mapping[str, str], timeout: float) -> Iterator[bool]:
    """Connect the hosts of a team, and yield whether this one is the first, which writes the run folder.

    `task` are settings by name that must be the same everywhere. Raises InputError when hosts are missing after `timeout`
    seconds, or disagree. What goes wrong later ends the process at once with one sentence, and so the others, which wait
    for it.
    """
    facts = {"numformer": version("numformer"), "the code": code_checksum(), "jax": jax.__version__, **task}
    roll_call(team, facts, timeout)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    jax.distributed.initialize(
        team.coordinator,
        team.hosts,
        team.host,
        team.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=max(30, round(timeout)),
    )
    try:
        yield team.host == 0
    except (InputError, jax.errors.JaxRuntimeError) as error:
        _end(team, error)
    jax.distributed.shutdown()  # type: ignore[no-untyped-call]


def _end(team: Team, error: Exception) -> None:
    """Say why this host ends and end it without waiting for the others, as JAX would."""
    what = str(error) if isinstance(error, InputError) else f"another host ended ({str(error).splitlines()[0]:.160})"
    say(f"numformer: host {team.host} of {team.hosts}: {what}")
    sys.stdout.flush()
    os._exit(2)


def code_checksum() -> str:
    """Return a checksum of the library's own files, which differ between hosts more easily than its version."""
    root, crc = Path(__file__).parents[1], 0
    for path in sorted(root.rglob("*.py")):
        crc = zlib.crc32(path.read_bytes(), zlib.crc32(path.relative_to(root).as_posix().encode(), crc))
    return f"{crc:08x}"


def roll_call(team: Team, facts: Mapping[str, str], timeout: float) -> None:
    """Return when all hosts are there and say the same facts.

    Raises InputError, on every host with the same sentence, naming the hosts that are missing after `timeout` seconds, or
    the first fact in which one differs from host 0.
    """
    end = time.monotonic() + timeout
    verdict = _call(team, facts, end, timeout) if team.host == 0 else _answer(team, facts, end, timeout)
    if verdict:
        raise InputError(verdict)


def _call(team: Team, facts: Mapping[str, str], end: float, timeout: float) -> str:
    """Wait for all others and tell each the verdict: a sentence, or nothing where all is well."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(socket.create_server(("", team.address[1]), backlog=team.hosts))
        except OSError as error:
            raise InputError(f"host 0 cannot listen at {team.coordinator}: {error.strerror}") from None
        others: dict[int, tuple[Any, dict[str, str]]] = {}
        verdict = ""
        while not verdict and len(others) < team.hosts - 1:
            try:
                server.settimeout(max(0.01, end - time.monotonic()))
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = [str(host) for host in range(1, team.hosts) if host not in others]
                verdict = (
                    f"of {team.hosts} hosts {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing after "
                    f"{timeout:g} s"
                )
                continue
            connection.settimeout(PATIENCE)
            stream = stack.enter_context(connection.makefile("rw"))
            try:
                host, hosts, theirs = json.loads(stream.readline())
            except (OSError, ValueError, TypeError):  # somebody else knocked, and said nothing or something else
                continue
            if hosts != team.hosts or host in others or not 0 < host < team.hosts:
                verdict = f"host {host} of {hosts} came, where host 0 waits for {team.hosts - 1} others, each once"
            others[host] = stream, theirs
        verdict = verdict or next(
            (found for host, (_, each) in sorted(others.items()) if (found := _differ(host, facts, each))), ""
        )
        for stream, _ in others.values():
            stream.write(json.dumps(verdict) + "\n")
            stream.flush()
    return verdict


def _differ(host: int, first: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Return in words the first difference between host 0 and another, or nothing."""
    for name in {**first, **other}:
        if first.get(name) != other.get(name):
            return f"the hosts disagree: {name} is {other.get(name)} on host {host} and {first.get(name)} on host 0"
    return ""


def _answer(team: Team, facts: Mapping[str, str], end: float, timeout: float) -> str:
    """Tell host 0 who this is, and return its verdict."""
    while True:
        left = end - time.monotonic()
        try:
            with (
                socket.create_connection(team.address, max(0.01, left)) as connection,
                connection.makefile("rw") as stream,
            ):
                stream.write(json.dumps([team.host, team.hosts, facts]) + "\n")
                stream.flush()
                # Host 0 may have begun to wait later than this one.
                connection.settimeout(max(0.01, left) + timeout)
                if line := stream.readline():
                    return str(json.loads(line))
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            return f"of {team.hosts} hosts 0 is missing after {timeout:g} s: nobody answers at {team.coordinator}"
        time.sleep(0.1)
