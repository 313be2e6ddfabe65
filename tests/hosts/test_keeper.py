"""The keeper of a host, with a process that only sleeps as the training and the test as the other hosts."""

import signal
import socket
import subprocess
import sys
from threading import Timer

import pytest

from numformer.hosts import group, keeper
from numformer.hosts.group import HostGroup, Stream
from numformer.hosts.keeper import Keeper


class Kept:
    """A keeper, the training it keeps, and the other ends of its streams."""

    def __init__(self, hosts, host):
        self.training = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        mine, self.pipe = map(Stream, socket.socketpair())
        self.others, streams = {}, {}
        for other in range(hosts) if host == 0 else (0,):
            if other != host:
                streams[other], self.others[other] = map(Stream, socket.socketpair())
        self.keeper = Keeper(HostGroup(hosts, host, "a:1"), streams, self.training.pid, mine, "numformer … --resume")

    def end_training(self, number=signal.SIGKILL):
        """End the training, which the keeper then finds."""
        self.training.send_signal(number)
        self.pipe.close()

    def close(self):
        self.training.returncode = 0  # The keeper has waited for it.
        for stream in (*self.others.values(), self.pipe):
            stream.close()


@pytest.fixture
def keep(monkeypatch):
    """Make a `Kept`, closed with the test; nobody waits long."""
    monkeypatch.setattr(group, "PATIENCE", 0.2)
    monkeypatch.setattr(keeper, "BEAT", 0.02)
    monkeypatch.setattr(keeper, "GRACE", 0.2)
    made = []

    def make(hosts, host=0):
        made.append(Kept(hosts, host))
        return made[-1]

    yield make
    for each in made:
        each.close()


def messages(stream):
    """Return what a host has been told besides that another is there."""
    return [message for message in stream.arrived() if message != ["beat"]]


def test_a_host_whose_stream_ends_is_lost_and_the_others_hear_its_number(keep, capsys):
    kept = keep(3)
    kept.pipe.send("step", 7)
    kept.others[1].close()
    assert kept.keeper.run() == 2
    sentence = "host 1 was lost at step 7; the run goes on from its last checkpoint with: numformer … --resume"
    assert capsys.readouterr().err == f"numformer: host 0 of 3: {sentence}\n"
    assert messages(kept.others[2]) == [["end", 1, ""]]


def test_who_hears_from_the_first_host_of_a_loss_does_not_blame_the_first(keep, capsys):
    kept = keep(3, host=1)
    kept.others[0].send("end", 2, "")
    kept.others[0].close()
    assert kept.keeper.run() == 2
    assert capsys.readouterr().err == "numformer: host 1 of 3: host 2 was lost before a step was made\n"


def test_a_host_that_says_nothing_any_more_is_lost(keep, capsys, monkeypatch):
    monkeypatch.setattr(keeper, "SILENCE", 0.1)
    assert keep(2).keeper.run() == 2
    assert "host 1 was lost" in capsys.readouterr().err


def test_the_time_of_a_roll_call_is_no_silence(keep, capsys):
    kept = keep(2)
    kept.keeper.others[1].heard -= 1000
    later = Timer(0.1, kept.end_training)
    later.start()
    kept.keeper.run()
    later.join()
    assert "the process that trains was killed" in capsys.readouterr().err


def test_the_sentence_that_a_host_ends_with_is_passed_on(keep, capsys):
    kept = keep(3)
    kept.others[2].send("end", 2, "text.txt is empty")
    assert kept.keeper.run() == 2
    assert capsys.readouterr().err == "numformer: host 0 of 3: host 2 ended: text.txt is empty\n"
    assert messages(kept.others[1]) == [["end", 2, "text.txt is empty"]]


def test_a_sentence_of_ones_own_comes_first(keep, capsys):
    kept = keep(2)
    kept.others[1].send("end", 1, "the hosts disagree")
    kept.pipe.send("sentence", "the hosts disagree")
    kept.end_training()
    assert kept.keeper.run() == 2
    assert capsys.readouterr().err == "numformer: host 0 of 2: the hosts disagree\n"


def test_a_training_that_is_killed_is_a_host_lost_to_the_others(keep, capsys):
    kept = keep(2, host=1)
    kept.end_training()
    assert kept.keeper.run() == 2
    assert "host 1 of 2: the process that trains was killed (SIGKILL)" in capsys.readouterr().err
    assert messages(kept.others[0]) == [["end", 1, ""]]


@pytest.mark.parametrize(
    ("hosts", "status", "sentence"),
    [
        (2, 2, "numformer: host 0 of 2: host 1 was lost"),
        (1, 1, "numformer: host 0 of 1: the training has failed\nTraceback:\nRuntimeError: a fault"),
    ],
)
def test_a_failure_is_explained_by_a_host_that_is_silent_and_shown_whole_by_default(
    keep, capsys, hosts, status, sentence
):
    kept = keep(hosts)
    kept.pipe.send("failure", "Traceback:\nRuntimeError: a fault")
    kept.end_training(signal.SIGABRT)
    assert kept.keeper.run() == status
    assert capsys.readouterr().err.startswith(sentence)


def test_who_says_goodbye_is_not_lost(keep, capsys):
    kept = keep(2)
    kept.training.kill()
    kept.training.wait()
    kept.training = subprocess.Popen([sys.executable, "-c", ""])
    kept.keeper.pid = kept.training.pid
    kept.others[1].send("goodbye")
    kept.others[1].close()
    kept.pipe.close()
    assert kept.keeper.run() == 0
    assert capsys.readouterr().err == ""
