"""The roll call: who is there, and whether all are about to do the same."""

import socket
import time
from threading import Thread

import pytest

from numformer import InputError
from numformer.hosts.group import HostGroup, Stream
from numformer.hosts.roll_call import roll_call


@pytest.fixture
def coordinator():
    """An address of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def answers(*calls):
    """Return what roll calls at the same time raise, each a group, its facts and a time-out; None where it raises nothing."""
    found = [None] * len(calls)

    def call(number):
        try:
            streams = roll_call(*calls[number])
            for stream in streams.values():
                stream.close()
        except InputError as error:
            found[number] = str(error)

    threads = [Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_hosts_that_agree_begin(coordinator):
    assert answers(*((HostGroup(3, host, coordinator), {"a": "1"}, 30) for host in range(3))) == [None] * 3


def test_who_knocks_and_is_no_host_is_not_waited_for(coordinator, monkeypatch):
    monkeypatch.setattr("numformer.hosts.group.PATIENCE", 0.1)
    streams = {}
    first = Thread(target=lambda: streams.update(roll_call(HostGroup(2, 0, coordinator), {}, 30)))
    first.start()
    sayings = [b"", b"GET / HTTP/1.1\r\n", b'["a", 2, {}]\n', b"[1, 2, 3]\n", b"[1.5, 2, {}]\n"]
    strangers = [connected(coordinator) for _ in sayings]
    for stranger, saying in zip(strangers, sayings, strict=True):
        stranger.sendall(saying)
    mine = roll_call(HostGroup(2, 1, coordinator), {}, 30)
    first.join(timeout=10)
    for connection in (*strangers, *mine.values(), *streams.values()):
        connection.close()
    assert list(streams) == [1]


def connected(coordinator):
    """Return a connection to a host that has begun to listen, or is about to."""
    end = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(HostGroup(2, 1, coordinator).address)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_message_that_arrives_in_drops_is_not_waited_for_longer_than_a_whole_one():
    ends = socket.socketpair()

    def drip():
        for _ in range(40):
            ends[0].sendall(b"1")
            time.sleep(0.01)
        ends[0].sendall(b"\n")

    dripping = Thread(target=drip)
    dripping.start()
    with pytest.raises(TimeoutError):
        Stream(ends[1]).receive(0.1)
    dripping.join()
    for end in ends:
        end.close()


def test_every_host_names_those_that_are_missing(coordinator):
    here = answers(*((HostGroup(4, host, coordinator), {}, 3) for host in (0, 2)))
    assert here == ["of 4 hosts 1, 3 are missing after 3 s"] * 2


def test_a_missing_first_host_is_named(coordinator):
    with pytest.raises(InputError, match=r"of 2 hosts 0 is missing after 0\.1 s: nobody answers at 127"):
        roll_call(HostGroup(2, 1, coordinator), {}, 0.1)


def test_every_host_hears_of_what_they_disagree_about(coordinator):
    found = answers(*((HostGroup(2, host, coordinator), {"the code": f"{host}"}, 30) for host in (0, 1)))
    assert found == ["the hosts disagree: the code is 1 on host 1 and 0 on host 0"] * 2


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ((0, 0, "a:1"), "--hosts must be at least 1, got 0"),
        ((2, 2, "a:1"), "--host must be from 0 to 1 for --hosts 2, got 2"),
        ((2, 0, "a"), "ADDRESS:PORT of host 0, got 'a'"),
    ],
)
def test_a_group_that_cannot_be_is_refused(group, message):
    with pytest.raises(InputError, match=message):
        HostGroup(*group)
