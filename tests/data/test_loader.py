import numpy as np
import pytest

from numformer import Tensor
from numformer.data import DataLoader, TensorDataset
from numformer.errors import InputError


def numbers(n):
    return TensorDataset(np.arange(n), -np.arange(n))


def order(loader):
    return [int(x) for inputs, _ in loader for x in inputs]


def test_a_dataset_is_indexed_like_its_arrays():
    dataset = TensorDataset(np.arange(12).reshape(4, 3), [5, 6, 7, 8])
    assert len(dataset) == 4
    row, label = dataset[1]
    assert (row.tolist(), label) == ([3, 4, 5], 6)
    assert [array.shape for array in dataset[1:3]] == [(2, 3), (2,)]


def test_a_dataset_holds_the_arrays_of_tensors():
    rows, labels = Tensor(np.arange(6).reshape(3, 2)), Tensor([5, 6, 7])
    inputs, targets = next(iter(DataLoader(TensorDataset(rows, labels), batch_size=2)))
    assert isinstance(inputs, np.ndarray)
    assert (inputs.tolist(), targets.tolist()) == ([[0, 1], [2, 3]], [5, 6])
    assert TensorDataset(rows).arrays[0] is rows.data


@pytest.mark.parametrize("arrays", [(), (np.arange(3), np.arange(4)), (np.arange(1), 5.0)])
def test_arrays_without_one_length_are_refused(arrays):
    with pytest.raises(InputError, match="arrays of one length, got the shapes"):
        TensorDataset(*arrays)


def test_batches_come_in_order_with_a_smaller_last_one():
    loader = DataLoader(numbers(7), batch_size=3)
    assert [inputs.tolist() for inputs, _ in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(loader) == 3


def test_the_smaller_last_batch_can_be_dropped():
    loader = DataLoader(numbers(7), batch_size=3, drop_last=True)
    assert [inputs.tolist() for inputs, _ in loader] == [[0, 1, 2], [3, 4, 5]]
    assert len(loader) == 2


@pytest.mark.parametrize("drop_last", [False, True])
def test_whole_batches_are_all_kept(drop_last):
    loader = DataLoader(numbers(6), batch_size=3, drop_last=drop_last)
    assert len(list(loader)) == len(loader) == 2


def test_shuffling_keeps_rows_together_and_visits_each_once():
    batches = list(DataLoader(numbers(50), batch_size=8, shuffle=True))
    inputs, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    assert sorted(inputs.tolist()) == list(range(50))
    assert inputs.tolist() != list(range(50))
    np.testing.assert_array_equal(labels, -inputs)


def test_every_epoch_has_an_order_of_its_own():
    loader = DataLoader(numbers(50), batch_size=8, shuffle=True)
    assert order(loader) != order(loader)


def test_seed_and_epoch_alone_decide_the_order():
    first, second = (DataLoader(numbers(50), batch_size=8, shuffle=True, seed=3) for _ in range(2))
    order(first)
    np.random.default_rng(0).random()
    second.epoch = 1
    assert order(first) == order(second)
    assert order(first) != order(DataLoader(numbers(50), batch_size=8, shuffle=True, seed=4))


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        DataLoader(numbers(3), batch_size=0)
