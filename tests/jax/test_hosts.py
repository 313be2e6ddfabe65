"""Several processes that train together over loopback: the curve of one, and one sentence for what goes wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from numformer import InputError
from numformer.cli.main import main
from numformer.tokenizers import ByteTokenizer
from numformer.training import RunFolder
from numformer.training.agreement import facts_of_run

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

MODEL = "--model.d-model 16 --model.num-heads 2 --model.num-layers 1 --model.max-seq-len 16 --model.dropout 0"
TRAIN = "--tokenizer bytes --sample 0 --train.batch-size 8 --train.log-every 1 --optim.schedule constant --backend jax"
TEXT = "one two three four five six seven\n" * 60
SLURM_PORTS = range(65536 - 4096, 65536)  # JAX takes one of them by the number of the job


@pytest.fixture
def coordinator():
    """An address of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a text, where all that is started begins."""
    (tmp_path / "text.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder):
    """Start `numformer train lm` in a process of its own, which is ended with the test."""
    flags = "--xla_backend_optimization_level=0"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    started = []

    def begin(options, more=(), cwd=folder):
        words = f"-m numformer {command(options)}".split()
        process = subprocess.Popen(
            [sys.executable, *words], cwd=cwd, env=env | dict(more), stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def command(options):
    return f"train lm --data text.txt {MODEL} {TRAIN} {options}"


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def end_well(*processes):
    """Wait for processes and return what they said; none of them may have failed."""
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


def slurm_step():
    """Return what Slurm tells the two tasks of a step whose job has a number that leads to a port where nobody listens."""
    for port in SLURM_PORTS:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)):
                break
    step = {"SLURM_JOB_ID": str(port % 4096), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    return [step | {"SLURM_PROCID": task, "SLURM_LOCALID": task} for task in "01"]


def test_a_run_changes_hands_between_two_hosts_and_one_as_if_it_had_gone_through(start, coordinator, folder):
    steps = "--train.eval-every 3 --train.steps"
    flags = f"--hosts 2 --coordinator {coordinator}"
    two = [start(f"--out two --mesh fsdp=2 {steps} 6 {flags} --host {host}") for host in (0, 1)]
    assert main(command(f"--out one {steps} 12").split()) == 0
    said = end_well(*two)
    assert "finished after 6 steps" in said[0]
    assert "finished" not in said[1]
    assert main(command(f"--out two --resume --mesh data=1 {steps} 9").split()) == 0
    # As the tasks of a Slurm step, that is without flags.
    end_well(*(start(f"--out two --resume --mesh data=2 {steps} 12 --hosts auto", task) for task in slurm_step()))
    assert len(losses(folder / "one")) == 12
    assert losses(folder / "two") == pytest.approx(losses(folder / "one"), rel=1e-4)


def two_at_work(start, coordinator, folder):
    """Return two hosts in the midst of a long training, some steps after its first checkpoint."""
    steps = "--valid-fraction 0 --train.steps 1000000 --train.eval-every 5"
    hosts = [start(f"--out run {steps} --mesh data=2 --hosts 2 --coordinator {coordinator} --host {n}") for n in (0, 1)]
    metrics = folder / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 5):
        assert [host.poll() for host in hosts] == [None, None], [host.communicate() for host in hosts]
        time.sleep(0.02)
    return hosts


def wait_until_free(run):
    """Wait for the training of a keeper that was killed, which ends a moment after it."""
    end = time.monotonic() + 30
    while True:
        try:
            with RunFolder(run).locked():
                return
        except InputError:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_host_is_named_and_one_process_goes_on_from_the_last_checkpoint(start, coordinator, folder, lost):
    hosts = two_at_work(start, coordinator, folder)
    hosts[lost].kill()
    left = 1 - lost
    said = hosts[left].communicate(timeout=60)[1]
    found = re.search(rf"numformer: host {left} of 2: host {lost} was lost at step (\d+); (.*)$", said)
    assert found, said
    assert hosts[left].returncode == 2
    assert f"numformer train lm --out run --resume --hosts 2 --host {left}" in found[2]
    wait_until_free(folder / "run")
    steps = f"--valid-fraction 0 --train.eval-every 5 --train.steps {(int(found[1]) // 5 + 1) * 5}"
    assert main(command(f"--out run --resume --mesh data=1 {steps}").split()) == 0
    assert main(command(f"--out whole {steps}").split()) == 0
    assert losses(folder / "run") == pytest.approx(losses(folder / "whole"), rel=1e-4)


def test_ctrl_c_in_one_stops_all_after_the_same_step(start, coordinator, folder):
    first, second = two_at_work(start, coordinator, folder)
    second.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert second.wait(timeout=60) == first.returncode == 130, said
    assert "stopped at step" in said.splitlines()[-1]


def test_hosts_may_have_other_numbers_of_cores():
    tokenizer = ByteTokenizer()
    few, many = (facts_of_run({"train": {"shards": cores, "threads": cores}}, tokenizer) for cores in (2, 16))
    assert few == many


def test_hosts_that_read_other_data_end_before_anything_is_written(start, coordinator, folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "text.txt").write_text(TEXT.replace("six", "ten"))
    options = f"--out run --mesh data=2 --hosts 2 --coordinator {coordinator} --host"
    hosts = [start(f"{options} 0"), start(f"{options} 1", cwd=folder / "elsewhere")]
    said = [host.communicate(timeout=60)[1].splitlines()[-1] for host in hosts]
    assert [host.returncode for host in hosts] == [2, 2]
    sentence = r"the hosts disagree: the checksum of the .* on host 1 and .* on host 0"
    pattern = rf"numformer: host \d of 2: (host \d ended: )?{sentence}"
    assert all(re.fullmatch(pattern, line) for line in said), said
    assert not (folder / "run" / "run.toml").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--hosts 2", "give --hosts N --host NUMBER --coordinator ADDRESS:PORT, or --hosts auto in a cluster"),
        ("--hosts 2 --host 2 --coordinator a:1", "--host must be from 0 to 1 for --hosts 2, got 2"),
        (
            "--hosts 2 --host 0 --coordinator a:1 --host-timeout nan",
            "--host-timeout must be a number of seconds above 0",
        ),
        ("--hosts 2 --host 0 --coordinator a:1 --backend numpy", "several hosts train under --backend jax, got numpy"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, sentence, folder, capsys):
    assert main(command(f"--out run {flags}").split()) == 2
    assert sentence in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_without_a_cluster_auto_says_what_to_give(folder, capsys):
    assert main(command("--out run --mesh data=2 --hosts auto").split()) == 2
    assert "JAX finds no cluster here; give --hosts N --host NUMBER" in capsys.readouterr().err
