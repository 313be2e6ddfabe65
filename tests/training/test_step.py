import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from numformer import GPT, Parameter, ops
from numformer.errors import InputError
from numformer.nn import set_recompute
from numformer.optim import SGD
from numformer.tasks.language_model import LanguageModelObjective
from numformer.training import TrainConfig
from numformer.training.step import TrainStep
from numformer.training.workers import Workers

TOKENS = np.random.default_rng(0).integers(0, 11, 300).astype(np.uint8)


class Unequal:
    """Rows of different numbers of real tokens (-1 is padding), the first piece with hardly any."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=8).astype(np.float64)
        for p in self.model.parameters():
            p.data = rng.standard_normal(p.shape)
        self.inputs = rng.integers(0, 11, (7, 8))
        self.targets = np.where(np.arange(8) < np.array([1, 0, 8, 3, 8, 5, 2])[:, None], self.inputs, -1)

    def batch(self, step):
        return self.inputs, self.targets

    def num_tokens(self, inputs, targets):
        return int((targets >= 0).sum())

    def loss_sum(self, inputs, targets):
        logits = self.model(inputs).reshape(-1, 11)
        return ops.cross_entropy(logits, targets.reshape(-1), ignore_index=-1, reduction="sum")


def gradient_of(pieces, threads=1):
    task = Unequal()
    optimizer = SGD(task.model.parameters(), lr=0.0)
    with Workers(threads) as workers:
        result = TrainStep(task, optimizer, workers, seed=0, shards=pieces, clip_norm=0.0)(1)
    return optimizer.gradient, result


@pytest.mark.parametrize("pieces", [2, 3, 5, 7])
def test_unequal_pieces_add_up_to_the_gradient_of_the_whole_batch(pieces):
    whole, whole_result = gradient_of(1)
    cut, cut_result = gradient_of(pieces)
    np.testing.assert_allclose(cut, whole, rtol=1e-6, atol=1e-9 * abs(whole).max())
    assert cut_result.loss == pytest.approx(whole_result.loss, rel=1e-12)
    assert cut_result.num_tokens == whole_result.num_tokens == 27


def test_the_loss_is_the_mean_over_real_tokens():
    task = Unequal()
    mean = ops.cross_entropy(task.model(task.inputs).reshape(-1, 11), task.targets.reshape(-1), ignore_index=-1)
    assert gradient_of(3)[1].loss == pytest.approx(mean.item(), rel=1e-12)


def step_of(pieces=2, threads=1, step=1, seed=0, clip_norm=0.0, dropout=0.1, recompute=False, **config):
    """Return the weights after one step, the gradient as clipped, and the result."""
    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=2, max_seq_len=8, dropout=dropout)
    set_recompute(model, recompute)
    task = LanguageModelObjective(model, None, TOKENS, None, TrainConfig(batch_size=6, **config))
    optimizer = SGD(model.parameters(), lr=0.1)
    with Workers(threads) as workers:
        result = TrainStep(task, optimizer, workers, seed=seed, shards=pieces, clip_norm=clip_norm)(step)
    return optimizer.weights, optimizer.gradient, result


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_the_number_of_workers_changes_no_bit(pieces):
    one, two = step_of(pieces, threads=1)[0], step_of(pieces, threads=2)[0]
    np.testing.assert_array_equal(one, two)


def test_recomputation_changes_no_bit():
    np.testing.assert_array_equal(step_of(recompute=True)[0], step_of()[0])


@pytest.mark.parametrize("changed", [{"step": 2}, {"seed": 1}, {"pieces": 3}])
def test_dropout_depends_on_seed_step_and_piece(changed):
    class SameBatch(LanguageModelObjective):
        def batch(self, step):
            return super().batch(1)

    losses = []
    for settings in ({"pieces": 2, "step": 1, "seed": 0}, {"pieces": 2, "step": 1, "seed": 0} | changed):
        model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=8, dropout=0.5)
        task = SameBatch(model, None, TOKENS, None, TrainConfig(batch_size=6))
        with Workers(1) as workers:
            step = TrainStep(task, SGD(model.parameters()), workers, seed=settings["seed"], shards=settings["pieces"])
            losses.append(step(settings["step"]).loss)
    assert losses[0] != losses[1]


def test_pieces_draw_different_dropout():
    class Twins(LanguageModelObjective):
        losses = ()

        def batch(self, step):
            return tuple(np.concatenate([part[:1]] * 2) for part in super().batch(step))

        def loss_sum(self, *batch):
            loss = super().loss_sum(*batch)
            self.losses += (loss.item(),)
            return loss

    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=8, dropout=0.5)
    task = Twins(model, None, TOKENS, None, TrainConfig(batch_size=2))
    with Workers(1) as workers:
        TrainStep(task, SGD(model.parameters()), workers, seed=0, shards=2, clip_norm=0.0)(1)
    assert task.losses[0] != task.losses[1]


def test_the_norm_is_reported_before_clipping():
    _, free, result = step_of()
    _, clipped, clipped_result = step_of(clip_norm=result.grad_norm / 4)
    assert clipped_result.grad_norm == result.grad_norm == pytest.approx(np.linalg.norm(free), rel=1e-5)
    np.testing.assert_allclose(clipped, free / 4, rtol=1e-4)


def test_a_norm_below_the_limit_is_left_alone():
    np.testing.assert_array_equal(step_of(clip_norm=1e6)[1], step_of()[1])


def test_label_smoothing_spreads_the_training_target():
    task = Unequal()
    inputs, targets = task.inputs[2:3], task.targets[2:3]
    smooth = LanguageModelObjective(task.model, None, TOKENS, None, TrainConfig(label_smoothing=0.2))
    logits = task.model(inputs).data[0]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(0.8 * log_p[np.arange(8), targets[0]] + 0.2 * log_p.mean(-1)).sum()
    assert smooth.loss_sum(inputs, targets).item() == pytest.approx(expected, rel=1e-10)


def test_a_step_without_a_finite_loss_changes_nothing():
    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=8)
    model.norm.bias.data[0] = np.nan
    task = LanguageModelObjective(model, None, TOKENS, None, TrainConfig(batch_size=2))
    optimizer = SGD(model.parameters(), momentum=0.9)
    before = optimizer.weights.copy()
    with Workers(1) as workers:
        result = TrainStep(task, optimizer, workers, seed=0, shards=1, clip_norm=1.0)(1)
    assert np.isnan(result.loss)
    assert not optimizer.update_counts.any()
    np.testing.assert_array_equal(optimizer.weights, before)


@pytest.mark.parametrize("size", [1e20, 2e38])
def test_gradients_whose_squares_overflow_are_clipped_or_stop_the_step(size):
    class Steep(Unequal):
        def loss_sum(self, inputs, targets):
            vector = next(p for p in self.model.parameters() if p.shape == (8,))
            return vector.sum() * (size * 27)  # It is divided by 27 tokens.

    task = Steep()
    task.model.astype(np.float32)
    optimizer = SGD(task.model.parameters(), lr=1.0)
    with Workers(1) as workers:
        result = TrainStep(task, optimizer, workers, seed=0, shards=2, clip_norm=1.0)(1)
    if size == 1e20:  # the sum of both shards is a number
        assert result.grad_norm == pytest.approx(2e20 * 8**0.5, rel=1e-5)
        assert np.linalg.norm(optimizer.gradient) == pytest.approx(1.0, rel=1e-4)
    else:
        assert result.grad_norm == np.inf
        assert not optimizer.update_counts.any()


def test_every_array_of_a_step_is_float32():
    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=8)
    task = LanguageModelObjective(model, None, TOKENS, None, TrainConfig(batch_size=2))
    seen = []

    class Spy(SGD):
        def rule(self, weights, gradient, group, decay, count, **state):
            seen.extend([weights, gradient, *state.values()])
            super().rule(weights, gradient, group, decay, count, **state)

    with Workers(1) as workers:
        TrainStep(task, Spy(model.parameters()), workers, seed=0, shards=2, clip_norm=0.1)(1)
    assert {array.dtype for array in seen} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "cores", "shards"), [(32, 1, 2, 2), (3, 1, 8, 3), (8, 4, 8, 2), (8, 8, 2, 1)]
)
def test_shards_are_one_per_core_as_far_as_the_batch_can_be_cut(batch_size, accumulation, cores, shards, monkeypatch):
    monkeypatch.setattr("numformer.training.config.num_cores", lambda: cores)
    config = TrainConfig(batch_size=batch_size, accumulation=accumulation, threads=1)
    assert config.num_shards == shards
    assert dataclasses.replace(config, shards=1).num_shards == 1


def test_parameters_outside_the_graph_get_no_gradient():
    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=8)
    extra = Parameter(np.ones((2, 2), np.float32))
    task = LanguageModelObjective(model, None, TOKENS, None, TrainConfig(batch_size=2))
    with Workers(1) as workers:
        optimizer = SGD([*model.parameters(), extra])
        TrainStep(task, optimizer, workers, seed=0, shards=1, clip_norm=0.0)(1)
    np.testing.assert_array_equal(extra.data, 1.0)


def test_accumulation_gives_the_gradient_of_the_whole_batch_and_the_same_bits_on_any_number_of_workers():
    def gradient(workers, shards, accumulation):
        task = Unequal()
        optimizer = SGD(task.model.parameters(), lr=0.0)
        with Workers(workers) as team:
            TrainStep(task, optimizer, team, seed=0, shards=shards, accumulation=accumulation)(1)
        return optimizer.gradient

    whole, alone, together = gradient(1, 1, 1), gradient(1, 2, 3), gradient(2, 2, 3)
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_allclose(alone, whole, rtol=1e-6, atol=1e-9 * abs(whole).max())


def test_an_error_in_another_process_is_raised_here():
    class Faulty(Unequal):
        def loss_sum(self, inputs, targets):
            if len(inputs) == 3:
                raise InputError("this shard cannot be computed")
            return super().loss_sum(inputs, targets)

    task = Faulty()
    with Workers(2) as workers, pytest.raises(InputError, match="this shard cannot be computed"):
        TrainStep(task, SGD(task.model.parameters()), workers, seed=0, shards=2)(1)


def test_a_process_that_dies_is_reported_and_none_is_left_behind():
    task = Unequal()
    with Workers(3) as workers:
        step = TrainStep(task, SGD(task.model.parameters()), workers, seed=0, shards=3)
        pids = step.team.pids
        if not pids:
            pytest.skip("this system has no fork")
        os.kill(pids[1], signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(InputError, match="a worker process has died"):
                step(1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
