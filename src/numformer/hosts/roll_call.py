"""The roll call before a training: all hosts come to the first one, which compares what they are about to do.

JAX aborts a process that waits for another in vain. So the hosts meet before, at the address where JAX will then listen:
the first host waits for all others within a bound, compares their facts with its own, and tells everyone the verdict.
"""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

from numformer.errors import InputError
from numformer.hosts import group
from numformer.hosts.group import HostGroup, Stream

Streams = dict[int, Stream]  # by the number of the host at the other end


def code_checksum() -> str:
    """Return a checksum of the library's own files, which differ between hosts more easily than its version."""
    root, crc = Path(__file__).parents[1], 0
    for path in sorted(root.rglob("*.py")):
        crc = zlib.crc32(path.read_bytes(), zlib.crc32(path.relative_to(root).as_posix().encode(), crc))
    return f"{crc:08x}"


def roll_call(hosts: HostGroup, facts: Mapping[str, str], timeout: float) -> Streams:
    """Return open streams when all hosts are there and say the same facts: the first has one to each, they to the first.

    Raises InputError, on every host with the same sentence, naming the hosts that are missing after `timeout` seconds, or
    the first fact in which one differs from host 0.
    """
    end = time.monotonic() + timeout
    streams, verdict = (_call if hosts.host == 0 else _answer)(hosts, facts, end, timeout)
    if verdict:
        for stream in streams.values():
            stream.close()
        raise InputError(verdict)
    return streams


def disagreement(facts: Mapping[int, Mapping[str, str]]) -> str:
    """Return in words the first difference between the facts of the first host and those of another, or nothing."""
    first = facts[0]
    for host, other in sorted(facts.items()):
        for name in {**first, **other}:
            if first.get(name) != other.get(name):
                mine, theirs = first.get(name, "not there"), other.get(name, "not there")
                return f"the hosts disagree: {name} is {theirs} on host {host} and {mine} on host 0"
    return ""


def _call(hosts: HostGroup, facts: Mapping[str, str], end: float, timeout: float) -> tuple[Streams, str]:
    """Wait for all others and tell each the verdict: a sentence, or nothing where all is well."""
    said, streams, verdict = {0: facts}, Streams(), ""
    try:
        server = socket.create_server(("", hosts.address[1]), backlog=hosts.hosts)
    except OSError as error:
        raise InputError(f"host 0 cannot listen at {hosts.coordinator}: {error.strerror}") from None
    with server:
        while not verdict and len(said) < hosts.hosts:
            try:
                server.settimeout(max(0.01, end - time.monotonic()))
                stream = Stream(server.accept()[0])
            except TimeoutError:
                missing = [str(host) for host in range(1, hosts.hosts) if host not in said]
                verdict = (
                    f"of {hosts.hosts} hosts {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing after "
                    f"{timeout:g} s"
                )
                continue
            try:
                host, count, theirs = stream.receive(group.PATIENCE)
            except (OSError, ValueError):
                host = count = theirs = None
            if type(host) is not int or not isinstance(theirs, dict):  # somebody else knocked
                stream.close()
                continue
            if count != hosts.hosts or host in said or not 0 < host < hosts.hosts:
                verdict = f"host {host} of {count} came, where host 0 waits for {hosts.hosts - 1} others, each once"
                stream.send(verdict)
            else:
                said[host], streams[host] = theirs, stream
    verdict = verdict or disagreement(said)
    for stream in streams.values():
        stream.send(verdict)
    return streams, verdict


def _answer(hosts: HostGroup, facts: Mapping[str, str], end: float, timeout: float) -> tuple[Streams, str]:
    """Tell host 0 who this is, and return its verdict."""
    while True:
        left = max(0.01, end - time.monotonic())
        try:
            stream = Stream(socket.create_connection(hosts.address, left))
            stream.send(hosts.host, hosts.hosts, facts)
            (verdict,) = stream.receive(left + timeout)  # Host 0 may have begun to wait later than this one.
            return {0: stream}, verdict
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            return {}, f"of {hosts.hosts} hosts 0 is missing after {timeout:g} s: nobody answers at {hosts.coordinator}"
        time.sleep(0.1)
