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


def test_the_default_is_a_batch_of_one():
    assert [inputs.tolist() for inputs, _ in DataLoader(numbers(2))] == [[0], [1]]


# Any dataset


class Squares:
    """A dataset of somebody's own."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if not 0 <= index < 5:
            raise IndexError(index)
        return {"x": [float(index)], "y": index**2}


class Endless:
    """An iterable dataset."""

    def __iter__(self):
        return ((float(i), i) for i in range(5))


def test_a_class_of_ones_own_is_a_dataset():
    loader = DataLoader(Squares(), batch_size=2)
    assert len(loader) == 3
    batches = list(loader)
    assert [batch["y"].tolist() for batch in batches] == [[0, 1], [4, 9], [16]]
    assert batches[0]["x"].tolist() == [[0.0], [1.0]]
    assert batches[0]["x"].dtype == np.float32


def test_a_list_of_pairs_is_shuffled_as_arrays_are():
    pairs = [(i, -i) for i in range(50)]
    shuffled = order(DataLoader(pairs, batch_size=8, shuffle=True, seed=3))
    assert shuffled == order(DataLoader(numbers(50), batch_size=8, shuffle=True, seed=3))


@pytest.mark.parametrize("drop_last", [False, True])
def test_an_iterable_is_read_in_its_order_and_as_often_as_asked(drop_last):
    loader = DataLoader(Endless(), batch_size=2, drop_last=drop_last)
    for _ in range(2):
        assert [y.tolist() for _, y in loader] == [[0, 1], [2, 3], [4]][: 2 if drop_last else 3]


def test_an_iterable_is_read_no_further_than_needed():
    batches = iter(DataLoader((i for i in iter(int, 1)), batch_size=3))
    assert next(batches).tolist() == [0, 0, 0]


def test_a_second_pass_over_a_generator_is_an_error_and_not_empty():
    loader = DataLoader(i for i in range(3))
    assert len(list(loader)) == 3
    with pytest.raises(InputError, match="an earlier pass used up this iterator"):
        list(loader)


def test_an_iterable_has_no_length_and_no_shuffling():
    with pytest.raises(TypeError, match="has no length"):
        len(DataLoader(Endless()))
    with pytest.raises(InputError, match="read in its own order"):
        DataLoader(Endless(), shuffle=True)


@pytest.mark.parametrize("dataset", [3, None, {"x": [1]}, "text"])
def test_what_is_no_dataset_is_refused(dataset):
    with pytest.raises(InputError, match="dataset"):
        DataLoader(dataset)


# Batches of one's own


def test_a_collate_function_gets_the_examples_of_a_batch():
    for dataset in (numbers(3), [(0, 0), (1, -1), (2, -2)]):
        loader = DataLoader(dataset, batch_size=2, collate_fn=lambda examples: [int(x) for x, _ in examples])
        assert list(loader) == [[0, 1], [2]]


def test_a_generator_of_numpy_decides_the_order_in_place_of_the_seed():
    first, second = (
        DataLoader(numbers(50), batch_size=8, shuffle=True, generator=np.random.default_rng(5)) for _ in range(2)
    )
    orders = order(first), order(first)
    assert orders[0] != orders[1]
    assert orders == (order(second), order(second))


def test_a_number_for_a_generator_is_the_seed():
    first = DataLoader(numbers(50), shuffle=True, generator=7)
    assert order(first) == order(DataLoader(numbers(50), shuffle=True, seed=7))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batchsize": 2}, r"unknown setting batchsize; .* did you mean batch_size\?"),
        ({"num_workers": 2}, "there is no setting num_workers: batches are made in the process that asks for them"),
        ({"pin_memory": True}, "there is no setting pin_memory: .* leave it out"),
        ({"sampler": [1]}, "there is no setting sampler: give the dataset in the order that you want"),
        ({"batch_size": None}, "batch_size must be at least 1, got None"),
        ({"batch_size": 2.0}, "batch_size must be at least 1, got 2.0"),
        ({"collate_fn": 3}, "collate_fn must be a function"),
        ({"generator": "x"}, "generator must be one of NumPy"),
    ],
    ids=str,
)
def test_a_setting_that_is_not_there_says_what_to_do_instead(settings, message):
    with pytest.raises(InputError, match=message):
        DataLoader(numbers(3), **settings)
