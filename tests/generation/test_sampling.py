import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numformer.errors import InputError
from numformer.generation.logits import penalise_repetition, process, processors_of
from numformer.generation.sampling import SamplingConfig, filter_logits, sample

INF = np.inf


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def log_of(*probabilities: float) -> np.ndarray:
    return np.log(array(*probabilities))


def kept(logits: np.ndarray, **settings: float) -> list[int]:
    return np.flatnonzero(np.isfinite(filter_logits(logits, SamplingConfig(**settings)))).tolist()


def draw(logits: np.ndarray, seed: int = 0, seen: tuple[int, ...] = (), **settings: float) -> int:
    config = SamplingConfig(**settings)
    return sample(process(rules(config, len(logits)), seen, logits), config, np.random.default_rng(seed))


def rules(config: SamplingConfig, num_tokens: int) -> list:
    return processors_of(config, 0, (), num_tokens)


def penalised(logits: np.ndarray, seen, penalty: float) -> np.ndarray:
    return process([partial(penalise_repetition, penalty=penalty)], seen, logits)


class FixedGenerator:
    """Stands in for a generator whose next uniform number is known."""

    def __init__(self, value: float) -> None:
        self.value = float(value)

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": INF},
        {"temperature": math.nan},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": -1.0},
        {"repetition_penalty": INF},
    ],
)
def test_setting_outside_its_range(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"^got {name}=.*, expected "):
        SamplingConfig(**settings)


def test_settings_at_the_edge_of_their_range():
    SamplingConfig(temperature=0, top_k=0, top_p=1, min_p=1, repetition_penalty=1e-3)


def test_repetition_penalty_table():
    logits = array(2, -2, 0, 3, -INF, 1)
    result = penalised(logits, [0, 1, 2, 4, 0, 0], 2.0)
    np.testing.assert_array_equal(result, array(1, -4, 0, 3, -INF, 1))
    np.testing.assert_array_equal(penalised(logits, np.array([3, 3]), 0.5), array(2, -2, 0, 6, -INF, 1))
    np.testing.assert_array_equal(penalised(logits, [], 2.0), logits)


def test_temperature_divides_logits_and_shifts_their_maximum_to_zero():
    np.testing.assert_array_equal(filter_logits(array(3, 1, 2), SamplingConfig(temperature=0.5)), array(0, -4, -2))
    np.testing.assert_array_equal(filter_logits(array(3, 1, 2), SamplingConfig(temperature=2)), array(0, -1, -0.5))
    np.testing.assert_array_equal(filter_logits(array(3, 3, 2), SamplingConfig(temperature=0)), array(0, -INF, -INF))


@pytest.mark.parametrize(
    ("logits", "k", "expected"),
    [
        ((1, 4, 3, 2), 1, [1]),
        ((1, 4, 3, 2), 3, [1, 2, 3]),
        ((1, 4, 3, 2), 0, [0, 1, 2, 3]),
        ((1, 4, 3, 2), 9, [0, 1, 2, 3]),
        ((2, 5, 2, 2), 2, [0, 1]),  # ties: lower ids first, and exactly k
        ((2, 2, 2, 2), 3, [0, 1, 2]),
        ((-INF, 1, -INF, 2), 3, [1, 3]),
    ],
)
def test_top_k_table(logits, k, expected):
    assert kept(array(*logits), top_k=k) == expected


def test_ties_in_a_large_vocabulary_go_to_the_lower_ids():
    logits = np.tile(array(1, 2), 150)
    assert kept(logits, top_k=200) == sorted([*range(1, 300, 2), *range(0, 100, 2)])


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.05, [1]),  # at least one
        (0.49, [1]),
        (0.51, [1, 3]),  # the token that crosses p stays
        (0.79, [1, 3]),
        (0.81, [0, 1, 3]),
        (0.96, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_top_p_table(p, expected):
    assert kept(log_of(0.15, 0.5, 0.05, 0.3), top_p=p) == expected


def test_top_p_reached_exactly_needs_no_further_token():
    assert kept(array(7, 7, 7, 7), top_p=0.5) == [0, 1]


@pytest.mark.parametrize(
    ("p", "expected"), [(0.0, [0, 1, 2, 3]), (0.09, [0, 1, 2, 3]), (0.11, [0, 1, 3]), (0.4, [1, 3]), (1.0, [1])]
)
def test_min_p_table(p, expected):
    assert kept(log_of(0.15, 0.5, 0.05, 0.3), min_p=p) == expected


def test_filters_apply_in_order():
    logits = log_of(0.4, 0.3, 0.2, 0.1)
    assert kept(logits, top_p=0.75) == [0, 1, 2]
    assert kept(logits, top_k=3, top_p=0.75) == [0, 1]  # of the three left, two have 7/9
    assert kept(logits, temperature=0.5, top_p=0.75) == [0, 1]  # squared: 16/30, 9/30, ...
    assert kept(logits, min_p=0.6) == [0, 1]
    assert kept(logits, temperature=2, min_p=0.6) == [0, 1, 2]  # roots: 1, .87, .71, .5 of the largest


def test_frequencies_match_probabilities():
    probabilities = np.array([0.1, 0.4, 0.2, 0.3])
    n = 20_000
    generator = np.random.default_rng(1)
    logits = np.log(probabilities).astype(np.float32)
    counts = np.bincount([sample(logits, SamplingConfig(), generator) for _ in range(n)], minlength=4)
    chi_square = ((counts - n * probabilities) ** 2 / (n * probabilities)).sum()
    assert chi_square < 16.3  # 3 degrees of freedom, p = 0.001


def test_greedy_is_argmax_and_draws_nothing():
    logits = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    generator, config = np.random.default_rng(0), SamplingConfig(temperature=0, top_k=3, top_p=0.5)
    assert [sample(row, config, generator) for row in logits] == logits.argmax(-1).tolist()
    assert generator.random() == np.random.default_rng(0).random()


def test_greedy_penalises_repetition_first():
    assert draw(array(3, 2, 1), seen=(0,), temperature=0, repetition_penalty=2) == 1
    assert draw(array(3, 2, 1), seen=(0, 1), temperature=0, repetition_penalty=1.2) == 0


def test_seen_ids_that_may_not_be_chosen_are_no_matter():
    np.testing.assert_array_equal(penalised(array(3, 2), [1, 5, 2], 2.0), array(3, 1))


def test_sampling_penalises_repetition_first():
    assert draw(array(3, 2, 1), seen=(0,), top_k=1, repetition_penalty=2) == 1


def test_same_seed_same_token_and_one_draw_per_token():
    logits = np.zeros(1000, np.float32)
    generator = np.random.default_rng(3)
    first = sample(logits, SamplingConfig(), generator)
    assert first == sample(logits, SamplingConfig(), np.random.default_rng(3))
    reference = np.random.default_rng(3)
    reference.random()
    assert generator.random() == reference.random()


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24, np.nextafter(1.0, 0.0)])
@pytest.mark.parametrize(
    "logits", [(-INF, 1, -INF, 2, -INF), (-INF, 1e4, -1e4, -INF), (0, -1e4, -INF), (0.1, 0.2, 0.3, -200)]
)
def test_tokens_without_probability_are_never_drawn(uniform, logits):
    token = sample(array(*logits), SamplingConfig(), FixedGenerator(uniform))
    assert logits[token] > max(logits) - 100


def test_uniform_numbers_near_the_ends_give_first_and_last_token():
    logits = array(-INF, 0, 0, 0, -INF)
    config = SamplingConfig()
    assert sample(logits, config, FixedGenerator(0.0)) == 1
    assert sample(logits, config, FixedGenerator(np.nextafter(1.0, 0.0))) == 3


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-6, 1.0, 1e6, 1e300])
@pytest.mark.parametrize("scale", [1e4, 3e38])
def test_extreme_logits_and_temperatures(temperature, scale):
    logits = array(-scale, scale, 0, -INF)
    config = SamplingConfig(temperature=temperature, top_p=0.9, min_p=0.01)
    filtered = filter_logits(logits, config)
    assert not np.isnan(filtered).any()
    assert filtered[1] == 0
    assert filtered[3] == -INF
    assert draw(logits, **vars(config)) < 3


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty"])
def test_settings_are_numbers(name):
    with pytest.raises(InputError, match=f"^{name} must be a number, got 'much'"):
        SamplingConfig(**{name: "much"})


some_logits = hnp.arrays(
    np.float32, st.integers(1, 30), elements=st.one_of(st.floats(-1e4, 1e4, width=32), st.just(-INF))
).filter(lambda logits: bool(np.isfinite(logits).any()))

some_configs = st.builds(
    SamplingConfig,
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 40),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.1, 10),
)


@given(some_logits, some_configs)
def test_filters_only_remove_and_keep_the_best(logits, config):
    logits.flags.writeable = False
    filtered = filter_logits(logits, config)
    assert filtered.dtype == np.float32
    assert filtered.shape == logits.shape
    assert filtered[logits.argmax()] == 0
    assert not np.isfinite(filtered[~np.isfinite(logits)]).any()
    if config.top_k:
        assert np.isfinite(filtered).sum() <= config.top_k


@given(some_logits, some_configs, st.floats(0, 1, exclude_max=True), st.data())
def test_the_token_drawn_is_one_that_was_kept(logits, config, uniform, data):
    seen = data.draw(st.lists(st.integers(0, len(logits) - 1)))
    logits.flags.writeable = False
    ruled = process(rules(config, len(logits)), seen, logits)
    token = sample(ruled, config, FixedGenerator(uniform))
    assert np.isfinite(filter_logits(penalised(logits, seen, config.repetition_penalty), config)[token])


@given(some_logits, st.floats(0.01, 0.99))
def test_nucleus_is_the_smallest_set_that_reaches_p(logits, p):
    probabilities = np.exp(logits.astype(np.float64) - logits.max())
    probabilities /= probabilities.sum()
    inside = probabilities[kept(logits, top_p=p)]
    assert inside.sum() > p - 1e-5
    assert inside.sum() - inside.min() < p + 1e-5


@given(some_logits, st.floats(0.1, 10), st.data())
def test_penalty_keeps_dtype_input_and_unseen_logits(logits, penalty, data):
    seen = data.draw(st.lists(st.integers(0, len(logits) - 1)))
    logits.flags.writeable = False
    result = penalised(logits, seen, penalty)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, penalised(logits, sorted(set(seen)), penalty))
    np.testing.assert_array_equal(np.delete(result, seen), np.delete(logits, seen))


def test_a_misspelt_setting_is_refused_with_the_one_that_may_be_meant():
    with pytest.raises(InputError, match=r"unknown setting temprature; known are .*; did you mean temperature\?$"):
        SamplingConfig(temprature=2)


PROBABILITIES = np.array([0.3, 0.05, 0.25, 0.1, 0.02, 0.15, 0.08, 0.05])


@pytest.mark.parametrize(
    ("settings", "expected"),  # what each filter leaves, before it is made to sum to 1
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2),
        ({"temperature": 2.0}, PROBABILITIES**0.5),
        ({"top_k": 3}, PROBABILITIES * [1, 0, 1, 0, 0, 1, 0, 0]),
        ({"top_p": 0.6}, PROBABILITIES * [1, 0, 1, 0, 0, 1, 0, 0]),
        ({"min_p": 0.25}, PROBABILITIES * [1, 0, 1, 1, 0, 1, 1, 0]),
        ({"temperature": 2.0, "top_k": 4}, PROBABILITIES**0.5 * [1, 0, 1, 1, 0, 1, 0, 0]),
        ({"logit_bias": {4: math.log(10)}}, PROBABILITIES * [1, 1, 1, 1, 10, 1, 1, 1]),
        ({"presence_penalty": math.log(3)}, PROBABILITIES / [1, 1, 3, 1, 1, 1, 1, 1]),
        ({"frequency_penalty": math.log(2)}, PROBABILITIES / [1, 1, 4, 1, 1, 1, 1, 1]),
        ({"repetition_penalty": 2.0}, np.where(np.arange(8) == 2, PROBABILITIES**2, PROBABILITIES)),
        ({"bad_words": [[2, 0], [7]]}, PROBABILITIES * [0, 1, 1, 1, 1, 1, 1, 0]),
        ({"no_repeat_ngram_size": 1}, PROBABILITIES * [1, 1, 0, 1, 1, 1, 1, 1]),
    ],
)
def test_draws_follow_the_distribution_after_each_filter_and_rule(settings, expected):
    n, seen, config = 8000, [2, 2], SamplingConfig(**settings)
    ruled = process(rules(config, 8), seen, np.log(PROBABILITIES).astype(np.float32))
    generator = np.random.default_rng(5)
    counts = np.bincount([sample(ruled, config, generator) for _ in range(n)], minlength=8)
    possible = expected > 0
    frequencies = n * (expected / expected.sum())[possible]
    assert counts[~possible].sum() == 0
    chi_square = ((counts[possible] - frequencies) ** 2 / frequencies).sum()
    assert chi_square < [10.8, 13.8, 16.3, 18.5, 20.5, 22.5, 24.3][possible.sum() - 2]  # p = 0.001
