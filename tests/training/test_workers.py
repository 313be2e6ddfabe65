"""Teams of processes: what they answer, what they raise, how they end, and what they leave behind."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from numformer import GPT, InputError, LanguageModel
from numformer.optim import SGD
from numformer.tasks.language_model import LanguageModelObjective
from numformer.training import TrainConfig
from numformer.training.step import TrainStep
from numformer.training.workers import Workers

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
TOKENS = np.random.default_rng(0).integers(0, 11, 300).astype(np.uint8)
PARENT = os.getpid()


class OwnArguments(Exception):  # noqa: N818
    def __init__(self, name, count):
        super().__init__(f"{name} counted {count}")


class Rephrased(InputError):  # noqa: N818
    """Unpickled, it would wrap its sentence once more."""

    def __init__(self, text):
        super().__init__(f"got {text}")


def unpicklable():
    class Local(Exception):  # noqa: N818
        pass

    return Local("made inside a function")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_results_come_in_the_order_of_their_numbers(count, num_workers):
    with Workers(num_workers) as workers:
        team = workers.team(lambda step, number: (step, number), count)
        for step in (7, 8):
            assert team.run(step) == [(step, number) for number in range(count)]


@pytest.mark.parametrize("threads_only", [False, True])
@pytest.mark.parametrize("faulty", [0, 1, 2])
def test_after_an_exception_the_next_step_gets_its_own_results(faulty, threads_only, monkeypatch):
    def work(step, number):
        time.sleep(0.02 * number)
        if (step, number) == (1, faulty):
            raise ValueError(f"fault of {number}")
        return step, number

    if threads_only:
        monkeypatch.setattr(sys, "platform", "other")
    with Workers(3) as workers:
        team = workers.team(work, 3)
        assert bool(team.pids) is (not threads_only and sys.platform == "linux")
        with pytest.raises(ValueError, match=f"^fault of {faulty}"):
            team.run(1)
        assert team.run(2) == [(2, 0), (2, 1), (2, 2)]


def test_of_several_exceptions_the_first_number_decides(monkeypatch):
    def work(step, number):
        time.sleep(0.03 * (2 - number))
        raise ValueError(f"fault of {number}")

    for platform in (sys.platform, "other"):
        monkeypatch.setattr(sys, "platform", platform)
        with Workers(3) as workers, pytest.raises(ValueError, match="fault of 0"):
            workers.team(work, 3).run(1)


def test_threads_have_ended_their_part_when_an_exception_is_raised(monkeypatch):
    """One that went on would write into the gradient of the next step."""
    monkeypatch.setattr(sys, "platform", "other")
    ended = []

    def work(step, number):
        if number == 0:
            raise ValueError("fault")
        time.sleep(0.05)
        ended.append(number)

    with Workers(2) as workers:
        team = workers.team(work, 2)
        with pytest.raises(ValueError, match="fault"):
            team.run(1)
        assert ended == [1]


@needs_fork
@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (lambda: InputError("one sentence"), InputError, "one sentence"),
        (lambda: FileNotFoundError(2, "No such file", "x.txt"), FileNotFoundError, "[Errno 2] No such file: 'x.txt'"),
        (lambda: OwnArguments("Ada", 3), RuntimeError, "OwnArguments: Ada counted 3"),
        (lambda: Rephrased("a word"), InputError, "got a word"),
        (unpicklable, RuntimeError, "Local: made inside a function"),
        (lambda: ValueError(lambda: 0), RuntimeError, "ValueError: <function"),
        (lambda: SystemExit(3), SystemExit, "3"),
        (lambda: KeyboardInterrupt("by hand"), KeyboardInterrupt, "by hand"),
    ],
    ids=["own", "os", "arguments", "rephrased", "local", "unpicklable", "exit", "interrupt"],
)
def test_an_exception_of_another_process_says_here_what_it_said_there(make, kind, sentence):
    def work(step, number):
        if os.getpid() != PARENT and step == 1:
            raise make()
        return number

    with Workers(2) as workers:
        team = workers.team(work, 2)
        with pytest.raises(kind) as caught:
            team.run(1)
        assert type(caught.value) is kind
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
        notes = getattr(caught.value, "__notes__", [])
        assert ["test_workers.py" in note for note in notes] == ([] if isinstance(caught.value, InputError) else [True])
        assert team.run(2) == [0, 1]


@needs_fork
def test_a_result_that_cannot_be_sent_is_named():
    with Workers(2) as workers:
        team = workers.team(lambda step, number: (lambda: 0) if os.getpid() != PARENT else 0, 2)
        with pytest.raises((AttributeError, RuntimeError, pickle.PicklingError), match="local object"):
            team.run(1)


@needs_fork
def test_a_process_that_ends_itself_is_reported_at_every_step():
    with Workers(2) as workers:
        team = workers.team(lambda step, number: os.getpid() == PARENT or os._exit(3), 2)
        for step in (1, 2):
            with pytest.raises(InputError, match="a worker process has died"):
                team.run(step)


@needs_fork
def test_sys_exit_in_ones_own_part_waits_for_the_others_and_an_interrupt_does_not():
    def work(step, number):
        if os.getpid() == PARENT and step == 1:
            sys.exit("enough")
        if os.getpid() == PARENT and step == 3:
            raise KeyboardInterrupt
        time.sleep(0.02 if step < 3 else 60)
        return step, number

    with Workers(2) as workers:
        team = workers.team(work, 2)
        pids = team.pids
        with pytest.raises(SystemExit, match="enough"):
            team.run(1)
        assert team.run(2) == [(2, 0), (2, 1)]
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            team.run(3)
        assert time.perf_counter() - start < 5
        assert not any(map(is_alive, pids))
        with pytest.raises(InputError, match="this team of workers has ended"):
            team.run(4)


@needs_fork
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_teams_end_in_any_order_at_once_even_while_they_work(order):
    with Workers(3) as workers:
        teams = [workers.team(lambda step, number: step and time.sleep(step), 3) for _ in range(2)]
        pids = [pid for team in teams for pid in team.pids]
        assert len(pids) == 4
        teams[0]._connections[0].send(60)
        start = time.perf_counter()
        for number in order:
            teams[number].close()
            teams[number].close()
        assert time.perf_counter() - start < 2
        assert not any(map(is_alive, pids))


@needs_fork
def test_processes_end_when_the_one_they_were_forked_from_is_killed():
    """The second team's processes inherit the first team's pipes and must not keep them open."""
    here, there = multiprocessing.Pipe()

    def make_two_teams():
        with Workers(3) as workers:
            teams = [workers.team(lambda step, number: 0, 3) for _ in range(2)]
            there.send([pid for team in teams for pid in team.pids])
            time.sleep(60)

    process = multiprocessing.get_context("fork").Process(target=make_two_teams)
    process.start()
    pids = here.recv()
    process.kill()
    process.join()
    end = time.monotonic() + 10
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < end:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def is_running(pid):
    """Tell whether a process, perhaps nobody's child any more, is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@needs_fork
def test_a_fork_of_the_users_leaves_the_team_alone():
    with Workers(2) as workers:
        team = workers.team(lambda step, number: number, 2)
        process = multiprocessing.get_context("fork").Process(target=team.close)
        process.start()
        process.join()
        assert process.exitcode == 0
        assert team.run(1) == [0, 1]


@needs_fork
@pytest.mark.parametrize("started", [0, 1])
@pytest.mark.parametrize("error", [BlockingIOError(11, "Resource temporarily unavailable"), OSError(12, "No memory")])
def test_a_fork_that_fails_is_one_sentence_and_leaves_no_process(started, error, monkeypatch, make_lm, tmp_path):
    fork, pids = os.fork, []

    def failing():
        if len(pids) == started:
            raise error
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(os, "fork", failing)
    with pytest.raises(InputError, match=r"^could not start a worker process \((Resource|No).*\): try fewer threads$"):
        make_lm().fit(steps=2, batch_size=6, shards=3, threads=3, progress=False, out=tmp_path / "run")
    assert not any(map(is_alive, pids))


def fit_small(seed):
    text = "the cat sat on the mat.\n" * 40
    lm = LanguageModel.from_text(text, d_model=8, num_heads=2, num_layers=1, max_seq_len=8, seed=seed)
    result = lm.fit(steps=3, batch_size=4, shards=2, threads=2, seed=seed, progress=False)
    return result.loss, lm.model.state_dict()


@needs_fork
def test_fit_works_in_the_processes_of_a_pool_and_gives_the_same_bytes():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(fit_small, [0, 1])
    for seed, (loss, weights) in enumerate(found):
        expected_loss, expected = fit_small(seed)
        assert loss == expected_loss
        assert all(np.array_equal(weights[name], value) for name, value in expected.items())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_blas_has_its_threads_back_when_the_last_of_overlapping_workers_ends(order):
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        contexts = [Workers(2) for _ in order]
        for each in contexts:
            each.__enter__()
        for number in order:
            assert set(blas_threads()) <= {1}
            contexts[number].__exit__(None, None, None)
        assert blas_threads() == before


def test_blas_has_its_threads_back_after_workers_in_several_threads():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        barrier = threading.Barrier(2)

        def work(wait):
            barrier.wait()
            with Workers(1):
                time.sleep(wait)

        threads = [threading.Thread(target=work, args=(wait,)) for wait in (0.01, 0.05)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert blas_threads() == before


def make_step(workers, model, **settings):
    task = LanguageModelObjective(model, None, TOKENS, None, TrainConfig(batch_size=4))
    return TrainStep(task, SGD(model.parameters(), lr=0.1, **settings), workers, seed=0, shards=2)


def small_gpt():
    return GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=8)


def overwritten_in_a_fork(model):
    """Let a process forked from this one overwrite the weights, and tell whether they changed here."""
    before = model.state_dict()

    def overwrite():
        for parameter in model.parameters():
            parameter.data[...] = 5.0

    process = multiprocessing.get_context("fork").Process(target=overwrite)
    process.start()
    process.join()
    return not all(np.array_equal(model.state_dict()[name], value) for name, value in before.items())


@needs_fork
def test_weights_are_shared_while_workers_run_and_private_before_and_after():
    model = small_gpt()
    optimizer = SGD(model.parameters(), lr=0.1)
    assert not overwritten_in_a_fork(model)
    with Workers(2) as workers:
        task = LanguageModelObjective(model, None, TOKENS, None, TrainConfig(batch_size=4))
        first = TrainStep(task, optimizer, workers, seed=0, shards=2)
        first(1)
        second = TrainStep(task, optimizer, workers, seed=0, shards=2)  # both see every update
        second(2)
        first(3)
        trained = model.state_dict()
    assert all(np.array_equal(model.state_dict()[name], value) for name, value in trained.items())
    assert not overwritten_in_a_fork(model)
    assert all(np.shares_memory(p.data, optimizer.weights) for p in model.parameters())
    other = small_gpt()
    with Workers(1) as workers:
        step = make_step(workers, other)
        for number in (1, 2, 3):
            step(number)
    assert all(np.array_equal(other.state_dict()[name], value) for name, value in trained.items())


@needs_fork
def test_weights_are_private_after_fit_and_after_a_fit_that_failed(make_lm):
    lm = make_lm()
    lm.fit(steps=2, batch_size=4, shards=2, threads=2, progress=False)
    assert not overwritten_in_a_fork(lm.model)
    with pytest.raises(InputError, match="became"):
        lm.fit(steps=3, batch_size=4, shards=2, threads=2, lr=1e30, progress=False)
    assert not overwritten_in_a_fork(lm.model)


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_weights_assigned_between_steps_are_those_of_every_process(threads):
    model = small_gpt()
    with Workers(threads) as workers:
        step = make_step(workers, model)
        step(1)
        for p in model.parameters():
            p.data = np.full(p.shape, 0.1, np.float32)
        step(2)
        found = model.state_dict()
    usual = small_gpt()
    usual.load_state_dict({name: np.full(p.shape, 0.1, np.float32) for name, p in usual.named_parameters()})
    with Workers(1) as workers:
        make_step(workers, usual)(2)
    assert all(np.array_equal(usual.state_dict()[name], value) for name, value in found.items())


def test_exceptions_of_this_file_are_as_hard_to_pickle_as_they_should_be():
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(OwnArguments("Ada", 3)))
    assert str(pickle.loads(pickle.dumps(Rephrased("x")))) == "got got x"
