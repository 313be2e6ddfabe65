import itertools

import numpy as np
import pytest

from numformer import InputError
from numformer.data.batching.batches import LengthBatches, pad

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 30, 101)
PAIRS = RNG.integers(1, 20, (101, 2))


def epoch_of(batches, number=0):
    return [batches.batch(step) for step in range(number * len(batches), (number + 1) * len(batches))]


def cost(lengths, batch):
    """Return the tokens of a batch with its padding, over all axes."""
    lengths = np.reshape(lengths, (len(lengths), -1))[batch]
    return len(batch) * lengths.max(axis=0).sum()


BATCHES = pytest.mark.parametrize(
    "batches",
    [
        LengthBatches(LENGTHS, batch_size=8),
        LengthBatches(LENGTHS, batch_size=101),
        LengthBatches(LENGTHS, batch_size=1000),
        LengthBatches(LENGTHS, batch_size=8, batch_tokens=64),
        LengthBatches(PAIRS, batch_size=8, batch_tokens=64),
        LengthBatches(PAIRS.tolist(), batch_size=7, seed=5),
    ],
    ids=["size", "one", "more", "tokens", "pairs by tokens", "pairs"],
)


@BATCHES
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_example_is_in_one_batch_of_an_epoch(batches, epoch):
    np.testing.assert_array_equal(np.sort(np.concatenate(epoch_of(batches, epoch))), np.arange(101))


@BATCHES
def test_iteration_gives_every_example_once_from_short_to_long(batches):
    numbers = list(batches)
    assert len(numbers) == len(batches)
    np.testing.assert_array_equal(np.sort(np.concatenate(numbers)), np.arange(101))
    longest = batches.lengths[np.concatenate(numbers)][:, -1]
    assert (np.diff(longest) >= 0).all()


def test_a_step_has_the_same_batch_whenever_and_in_whatever_order_it_is_asked_for():
    batches = LengthBatches(LENGTHS, batch_size=8, seed=3)
    forth = [batches.batch(step) for step in range(40)]
    for step in (39, 0, 13, 12, 39, 14):
        np.testing.assert_array_equal(batches.batch(step), forth[step])
        np.testing.assert_array_equal(LengthBatches(LENGTHS, batch_size=8, seed=3).batch(step), forth[step])


def test_epochs_and_seeds_have_orders_of_their_own():
    first = LengthBatches(LENGTHS, batch_size=8, seed=3)
    orders = [np.concatenate(epoch_of(first, epoch)) for epoch in range(3)]
    orders.append(np.concatenate(epoch_of(LengthBatches(LENGTHS, batch_size=8, seed=4))))
    assert len({order.tobytes() for order in orders}) == 4


def test_batches_do_not_come_from_short_to_long():
    longest = [LENGTHS[batch].max() for batch in epoch_of(LengthBatches(LENGTHS, batch_size=8))]
    assert longest != sorted(longest)


def test_examples_of_one_length_are_put_together_anew_every_epoch():
    batches = LengthBatches(np.full(40, 7), batch_size=4)
    together = [{frozenset(batch.tolist()) for batch in epoch_of(batches, epoch)} for epoch in range(2)]
    assert len(together[0] & together[1]) < 5


def test_a_batch_holds_similar_lengths():
    for batch in epoch_of(LengthBatches(LENGTHS, batch_size=8)):
        others = np.setdiff1d(np.arange(101), batch)
        shortest, longest = LENGTHS[batch].min(), LENGTHS[batch].max()
        assert not ((LENGTHS[others] > shortest) & (LENGTHS[others] < longest)).any()


@pytest.mark.parametrize("lengths", [LENGTHS, PAIRS, PAIRS[:, ::-1]], ids=["one axis", "two", "two, swapped"])
@pytest.mark.parametrize("batch_tokens", [40, 64, 333])
def test_batch_tokens_bounds_a_batch_with_its_padding_and_is_used_up(lengths, batch_tokens):
    batches = LengthBatches(lengths, batch_tokens=batch_tokens)
    costs = [cost(lengths, batch) for epoch in range(3) for batch in epoch_of(batches, epoch)]
    assert max(costs) <= batch_tokens
    in_order = list(batches)
    for batch, following in itertools.pairwise(in_order):
        assert cost(lengths, np.append(batch, following[0])) > batch_tokens


def test_a_batch_stays_within_both_bounds_and_reaches_one():
    batches = list(LengthBatches(PAIRS, batch_size=4, batch_tokens=100))
    assert {len(batch) == 4 for batch in batches} == {True, False}
    for batch, following in itertools.pairwise(batches):
        assert len(batch) <= 4
        assert cost(PAIRS, batch) <= 100
        assert len(batch) == 4 or cost(PAIRS, np.append(batch, following[0])) > 100


def test_batch_size_bounds_a_batch():
    sizes = [len(batch) for batch in epoch_of(LengthBatches(LENGTHS, batch_size=8))]
    assert sorted(sizes) == [5, *[8] * 12]


@pytest.mark.parametrize("length", [1, 50])
def test_an_example_as_long_as_batch_tokens_is_a_batch(length):
    assert len(LengthBatches([1, 2, length], batch_tokens=50)) == 1 + (length == 50)


@pytest.mark.parametrize(
    ("lengths", "tokens", "message"),
    [
        ([3, 51, 2], 50, "batch_tokens=50 is less than the longest example, of 51 tokens"),
        ([(3, 4), (30, 21)], 50, "batch_tokens=50 is less than the longest example, of 51 tokens"),
        ([], None, "there are no examples"),
        ([], 50, "there are no examples"),
    ],
)
def test_what_cannot_be_a_batch_is_refused_in_a_sentence(lengths, tokens, message):
    with pytest.raises(InputError, match=message):
        LengthBatches(lengths, batch_size=4, batch_tokens=tokens)


def test_rows_are_padded_to_the_longest():
    rows = [np.array([1, 2], np.uint8), np.array([3]), np.array([], np.int64)]
    table = pad(rows, -100)
    np.testing.assert_array_equal(table, [[1, 2], [3, -100], [-100, -100]])
    assert table.dtype == np.int64


def test_rows_of_features_are_padded_with_rows():
    table = pad([np.ones((2, 3), np.uint16), np.full((1, 3), 2), np.zeros((0, 3))], 9)
    np.testing.assert_array_equal(table[:, :, 0], [[1, 1], [2, 9], [9, 9]])
    assert (table == table[:, :, :1]).all()


def test_one_empty_row_is_padded_to_the_least_length():
    np.testing.assert_array_equal(pad([np.zeros(0)], 7), [[7]])
    np.testing.assert_array_equal(pad([np.array([1])], 7, min_length=3), [[1, 7, 7]])
