"""Several processes that train together over loopback: the curve of one, and one sentence for what goes wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from threading import Thread

import pytest

from numformer import InputError

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

from numformer.jax.hosts import Team, roll_call  # noqa: E402

MODEL = "--model.d-model 16 --model.num-heads 2 --model.num-layers 1 --model.max-seq-len 16 --model.dropout 0"
TRAIN = "--tokenizer bytes --sample 0 --train.batch-size 8 --train.log-every 1 --backend jax"


@pytest.fixture
def coordinator():
    """An address of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def start(tmp_path):
    """Start `numformer train lm` in a process of its own, which is ended with the test."""
    (tmp_path / "text.txt").write_text("one two three four five six seven\n" * 60)
    flags = "--xla_backend_optimization_level=0"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    started = []

    def begin(options):
        words = f"-m numformer train lm --data text.txt {MODEL} {TRAIN} {options}".split()
        process = subprocess.Popen([sys.executable, *words], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_hosts_train_to_the_curve_of_one_which_goes_on_alone(start, coordinator, tmp_path):
    steps = "--train.steps 6 --train.eval-every 3"
    hosts = f"--out two --mesh fsdp=2 --hosts 2 --coordinator {coordinator}"
    processes = [start(f"--out one {steps}"), *(start(f"{hosts} --host {host} {steps}") for host in (0, 1))]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert "finished after 6 steps" in said[1]
    assert "finished" not in said[2]
    alone = [start(f"--out {out} --resume --mesh data=1 --train.steps 9") for out in ("one", "two")]
    said = [process.communicate()[1] for process in alone]
    assert [process.returncode for process in alone] == [0, 0], said
    assert len(losses(tmp_path / "one")) == 9
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, 2), (signal.SIGINT, 130)])
def test_a_host_that_ends_takes_the_other_with_it(start, coordinator, tmp_path, number, status):
    hosts = f"--out run --train.steps 1000000 --mesh data=2 --hosts 2 --coordinator {coordinator}"
    first, second = (start(f"{hosts} --host {host}") for host in (0, 1))
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and first.poll() is None:
        time.sleep(0.05)
    second.send_signal(number)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == status, said
    sentence = "stopped at step" if status == 130 else "numformer: host 0 of 2: another host ended"
    assert sentence in said.splitlines()[-1]


# The roll call


def answers(*calls):
    """Return what roll calls at the same time raise, each a team, its facts and a time-out; None where it raises nothing."""
    found = [None] * len(calls)

    def call(number):
        try:
            roll_call(*calls[number])
        except InputError as error:
            found[number] = str(error)

    threads = [Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_hosts_that_agree_begin(coordinator):
    assert answers(*((Team(3, host, coordinator), {"a": "1"}, 30) for host in range(3))) == [None] * 3


def test_who_knocks_and_is_no_host_is_not_waited_for(coordinator, monkeypatch):
    monkeypatch.setattr("numformer.jax.hosts.PATIENCE", 0.1)
    first = Thread(target=roll_call, args=(Team(2, 0, coordinator), {}, 30))
    first.start()
    strangers = [connected(coordinator) for _ in range(2)]
    strangers[1].sendall(b"GET / HTTP/1.1\r\n")
    roll_call(Team(2, 1, coordinator), {}, 30)
    first.join(timeout=10)
    for stranger in strangers:
        stranger.close()
    assert not first.is_alive()


def connected(coordinator):
    """Return a connection to a host that has begun to listen, or is about to."""
    end = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(Team(2, 1, coordinator).address)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_every_host_names_those_that_are_missing(coordinator):
    here = answers(*((Team(4, host, coordinator), {}, 3) for host in (0, 2)))
    assert here == ["of 4 hosts 1, 3 are missing after 3 s"] * 2


def test_a_missing_first_host_is_named(coordinator):
    with pytest.raises(InputError, match=r"of 2 hosts 0 is missing after 0\.1 s: nobody answers at 127"):
        roll_call(Team(2, 1, coordinator), {}, 0.1)


def test_every_host_hears_of_what_they_disagree_about(coordinator):
    found = answers(*((Team(2, host, coordinator), {"the code": f"{host}"}, 30) for host in (0, 1)))
    assert found == ["the hosts disagree: the code is 1 on host 1 and 0 on host 0"] * 2


@pytest.mark.parametrize(
    ("team", "message"),
    [
        ((2, 2, "a:1"), "--host must be from 0 to 1 for --hosts 2, got 2"),
        ((2, 0, "a"), "ADDRESS:PORT of host 0, got 'a'"),
    ],
)
def test_a_team_that_cannot_be_is_refused(team, message):
    with pytest.raises(InputError, match=message):
        Team(*team)
