import numpy as np
import pytest

from numformer.data import TokenWindows, split_tokens
from numformer.errors import InputError


def batches(n, length, batch_size, **settings):
    return list(TokenWindows(np.arange(n, dtype=np.uint16), length).sequential(batch_size, **settings))


def test_targets_are_the_next_tokens():
    inputs, targets = TokenWindows(np.arange(100, dtype=np.uint8), 7).sample(np.random.default_rng(0), 5)
    assert inputs.shape == targets.shape == (5, 7)
    assert inputs.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(inputs, inputs[:, :1] + np.arange(7))


def test_every_start_is_drawn_equally_often():
    windows = TokenWindows(np.arange(10), 4)  # starts 0 to 5
    inputs, _ = windows.sample(np.random.default_rng(0), 6000)
    starts, counts = np.unique(inputs[:, 0], return_counts=True)
    assert starts.tolist() == [0, 1, 2, 3, 4, 5]
    assert counts.min() > 850
    assert counts.max() < 1150


def test_the_generator_alone_decides_what_is_drawn():
    windows = TokenWindows(np.arange(1000), 8)
    first, second, other = (windows.sample(np.random.default_rng(seed), 4)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_tokens_wider_than_a_byte_are_not_wrapped():
    inputs, targets = TokenWindows(np.array([70_000, 3, 70_001], np.uint32), 2).sample(np.random.default_rng(0), 1)
    assert (inputs.tolist(), targets.tolist()) == ([[70_000, 3]], [[3, 70_001]])


@pytest.mark.parametrize("n", [5, 8, 9, 10, 29, 32, 33])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_sequential_windows_predict_every_token_but_the_first_once(n, batch_size):
    got = batches(n, 4, batch_size)
    assert np.concatenate([inputs.ravel() for inputs, _ in got]).tolist() == list(range(n - 1))
    assert np.concatenate([targets.ravel() for _, targets in got]).tolist() == list(range(1, n))
    assert all(len(inputs) <= batch_size for inputs, _ in got)


@pytest.mark.parametrize("n", [5, 9, 13])
@pytest.mark.parametrize("max_windows", [None, 1, 2, 100])
def test_windows_that_cover_the_text_exactly_leave_no_empty_one(n, max_windows):
    got = batches(n, 4, 100, max_windows=max_windows)
    assert [inputs.shape for inputs, _ in got] == [(min((n - 1) // 4, max_windows or n), 4)]


def test_the_shorter_last_window_is_a_batch_of_its_own():
    assert [inputs.shape for inputs, _ in batches(12, 4, batch_size=2)] == [(2, 4), (1, 3)]


def test_fewer_windows_are_spread_evenly():
    got = batches(1001, 10, batch_size=3, max_windows=4)
    assert [start for inputs, _ in got for start in inputs[:, 0]] == [0, 250, 500, 750]
    assert [inputs.shape for inputs, _ in got] == [(3, 10), (1, 10)]


@pytest.mark.parametrize("max_windows", [3, 4, None])
def test_a_limit_that_is_not_reached_changes_nothing(max_windows):
    assert [inputs.shape for inputs, _ in batches(12, 4, batch_size=8, max_windows=max_windows)] == [(2, 4), (1, 3)]


def test_one_window_and_its_last_target_are_just_enough():
    inputs, targets = TokenWindows(np.arange(5), 4).sample(np.random.default_rng(0), 2)
    assert inputs.tolist() == [[0, 1, 2, 3]] * 2
    assert targets.tolist() == [[1, 2, 3, 4]] * 2


def test_a_text_shorter_than_the_context_is_refused():
    with pytest.raises(
        InputError, match="the validation text has 4 tokens, fewer than the 5 that one window of max_seq_len=4 needs"
    ):
        TokenWindows(np.arange(4), 4, name="validation text")


def test_a_window_without_tokens_is_refused():
    with pytest.raises(InputError, match="max_seq_len=0"):
        TokenWindows(np.arange(4), 0)


def test_the_end_of_the_text_is_held_out():
    train, valid = split_tokens(np.arange(1000), 0.1)
    assert train.tolist() == list(range(900))
    assert valid.tolist() == list(range(900, 1000))


def test_no_training_window_reaches_into_the_validation_part():
    train, valid = split_tokens(np.arange(200), 0.25)
    _, targets = TokenWindows(train, 16).sample(np.random.default_rng(0), 2000)
    assert targets.max() == valid[0] - 1
    assert TokenWindows(valid, 16).sample(np.random.default_rng(0), 2000)[0].min() == valid[0]


def test_nothing_held_out_leaves_everything_for_training():
    train, valid = split_tokens(np.arange(10), 0)
    assert (len(train), len(valid)) == (10, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(InputError, match="valid_fraction must be"):
        split_tokens(np.arange(10), fraction)
