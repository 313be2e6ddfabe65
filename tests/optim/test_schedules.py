import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numformer.errors import InputError
from numformer.optim.schedules import LRScheduler, ScheduleConfig, learning_rate


def rates(steps, *, peak=1.0, total_steps=10, **settings):
    config = ScheduleConfig(**settings)
    return [learning_rate(step, peak=peak, total_steps=total_steps, config=config) for step in steps]


ROOT = math.sqrt(2) / 4

TABLES = [
    ({}, [(1, 1), (5, 1), (10, 1), (99, 1)]),
    ({"warmup_steps": 4}, [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1), (5, 1), (10, 1), (99, 1)]),
    ({"schedule": "linear"}, [(1, 0.9), (5, 0.5), (9, 0.1), (10, 0), (99, 0)]),
    (
        {"schedule": "linear", "warmup_steps": 2, "min_lr_ratio": 0.2},
        [(1, 0.5), (2, 1), (4, 0.8), (6, 0.6), (8, 0.4), (10, 0.2), (99, 0.2)],
    ),
    (
        {"schedule": "cosine", "warmup_steps": 2},
        [(1, 0.5), (2, 1), (4, 0.5 + ROOT), (6, 0.5), (8, 0.5 - ROOT), (10, 0), (99, 0)],
    ),
    ({"schedule": "cosine", "min_lr_ratio": 0.1}, [(5, 0.55), (10, 0.1), (99, 0.1)]),
    ({"schedule": "noam", "warmup_steps": 4}, [(1, 0.25), (2, 0.5), (4, 1), (9, 2 / 3), (10, math.sqrt(0.4))]),
    ({"schedule": "noam", "warmup_steps": 0}, [(1, 1), (4, 0.5), (9, 1 / 3), (99, math.sqrt(0.1))]),
    ({"schedule": "noam", "warmup_steps": 1}, [(1, 1), (4, 0.5)]),
    ({"schedule": "noam", "warmup_steps": 20}, [(1, 0.05), (10, 0.5), (99, 0.5)]),
]


@pytest.mark.parametrize(("settings", "table"), TABLES)
def test_tables(settings, table):
    steps, expected = zip(*table, strict=True)
    np.testing.assert_allclose(rates(steps, **settings), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(rates(steps, peak=3e-4, **settings), 3e-4 * np.array(expected), rtol=1e-12, atol=1e-15)


def test_noam_is_the_formula_of_the_paper():
    d_model, warmup = 512, 40
    peak = (d_model * warmup) ** -0.5
    paper = [d_model**-0.5 * min(step**-0.5, step * warmup**-1.5) for step in range(1, 200)]
    ours = rates(range(1, 200), peak=peak, total_steps=200, schedule="noam", warmup_steps=warmup)
    np.testing.assert_allclose(ours, paper, rtol=1e-12)


schedules = st.sampled_from(["constant", "cosine", "linear", "noam"])


@given(schedules, st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.floats(1e-6, 10))
def test_rises_to_the_peak_then_never_rises_again(schedule, warmup, decay, ratio, peak):
    total = warmup + decay
    settings = {"schedule": schedule, "warmup_steps": warmup, "min_lr_ratio": ratio}
    curve = rates(range(1, total + 5), peak=peak, total_steps=total, **settings)
    assert curve[warmup - 1] == peak
    assert np.all(np.diff(curve[:warmup]) > 0)
    assert np.all(np.diff(curve[warmup - 1 :]) <= 1e-15 * peak)
    if schedule in ("cosine", "linear"):
        assert curve[total - 1] == ratio * peak
    assert set(curve[total - 1 :]) == {curve[total - 1]}


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "exponential"},
        {"warmup_steps": -1},
        {"min_lr_ratio": -0.1},
        {"min_lr_ratio": 1.1},
        {"min_lr_ratio": math.nan},
    ],
)
def test_setting_outside_its_range(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"^got {name}=.*, expected "):
        ScheduleConfig(**settings)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [10, 11])
def test_warmup_that_leaves_no_step_to_decay(schedule, warmup):
    with pytest.raises(InputError, match=f"^got warmup_steps={warmup} with total_steps=10, expected .* {schedule}"):
        rates([1], schedule=schedule, warmup_steps=warmup)


@pytest.mark.parametrize(("step", "total"), [(0, 10), (-1, 10), (1, 0)])
def test_steps_count_from_one(step, total):
    with pytest.raises(InputError, match=f"^got step={step} and total_steps={total}, expected both"):
        rates([step], total_steps=total)


def optimizer_of(*rates):
    return SimpleNamespace(param_groups=[{"lr": rate} for rate in rates])


def test_scheduler_sets_the_rate_of_every_update():
    settings = {"schedule": "linear", "warmup_steps": 2, "min_lr_ratio": 0.2}
    optimizer = optimizer_of(3e-4)
    scheduler = LRScheduler(optimizer, ScheduleConfig(**settings), total_steps=10)
    used = []
    for _ in range(12):
        used += scheduler.get_last_lr()
        scheduler.step()
    assert used == rates(range(1, 13), peak=3e-4, **settings)


def test_a_schedule_is_constant_without_warm_up_unless_told_otherwise():
    optimizer = optimizer_of(3e-4)
    scheduler = LRScheduler(optimizer, ScheduleConfig(), total_steps=3)
    for _ in range(5):
        assert scheduler.get_last_lr() == [3e-4]
        scheduler.step()
    assert rates([1, 2, 4], schedule="linear", total_steps=4) == [0.75, 0.5, 0.0]  # no warm-up, down to zero


def test_a_scheduler_takes_the_rate_at_its_construction_for_the_peak():
    optimizer = optimizer_of(0.5)
    scheduler = LRScheduler(optimizer, ScheduleConfig(warmup_steps=4), total_steps=10)
    assert (scheduler.peaks, scheduler.get_last_lr()) == ([0.5], [0.125])
    optimizer.param_groups[0]["lr"] = 9.0  # what somebody sets in between holds for one update
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_all_groups_get_the_same_share_of_their_peaks():
    optimizer = optimizer_of(1.0, 0.25)
    scheduler = LRScheduler(optimizer, ScheduleConfig(schedule="linear", warmup_steps=2), total_steps=4)
    found = []
    for _ in range(4):
        found.append(scheduler.get_last_lr())
        scheduler.step()
    assert found == [[0.5, 0.125], [1.0, 0.25], [0.5, 0.125], [0.0, 0.0]]


def test_a_scheduler_continues_from_its_state_whatever_rates_it_finds():
    settings = {"config": ScheduleConfig(schedule="cosine", warmup_steps=3), "total_steps": 10}
    scheduler = LRScheduler(optimizer_of(1.0, 0.1), **settings)
    for _ in range(4):
        scheduler.step()
    other = LRScheduler(optimizer_of(0.3, 0.03), **settings)
    other.load_state_dict(scheduler.state_dict())
    for _ in range(3):
        assert other.get_last_lr() == scheduler.get_last_lr()
        for each in (scheduler, other):
            each.step()


@pytest.mark.parametrize("state", [{}, {"update": np.array(1), "peaks": np.array([1.0])}])
def test_the_state_of_another_scheduler_is_refused(state):
    with pytest.raises(InputError, match="not the state of a scheduler of 2 groups"):
        LRScheduler(optimizer_of(1.0, 0.1), ScheduleConfig(), total_steps=3).load_state_dict(state)
