import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.ops.embedding import ONE_HOT_LIMIT

both_ways = pytest.mark.parametrize("num_rows", [9, ONE_HOT_LIMIT + 1], ids=["one-hot", "sorted"])


def table_gradient(ids, dy, num_rows, **settings):
    weight = Tensor(np.zeros((num_rows, dy.shape[-1]), dy.dtype), requires_grad=True)
    return gradients(ops.embedding(np.array(ids), weight, **settings), [weight], dy)[0]


@both_ways
def test_a_token_met_five_times_gets_the_sum_of_its_five_gradients(num_rows):
    ids = [[4, 1, 4], [4, 4, 7], [0, 4, 7]]
    dy = np.random.default_rng(0).standard_normal((3, 3, 2))
    expected = np.zeros((num_rows, 2))
    np.add.at(expected, np.array(ids), dy)
    np.testing.assert_allclose(table_gradient(ids, dy, num_rows), expected, atol=1e-14)


@both_ways
def test_the_padding_row_gets_no_gradient(num_rows):
    grad = table_gradient([[0, 3, 0]], np.ones((1, 3, 2)), num_rows, padding_id=0)
    assert not grad[0].any()
    assert (grad[3] == 1.0).all()


@both_ways
def test_no_tokens_give_a_zero_gradient(num_rows):
    assert not table_gradient(np.zeros((0, 3), int), np.ones((0, 3, 2)), num_rows).any()


@pytest.mark.parametrize(("ids", "found"), [([[1, 4]], "from 1 to 4"), ([[-1, 0]], "from -1 to 0")])
def test_ids_outside_the_vocabulary_are_named(ids, found):
    with pytest.raises(InputError, match=f"{found}, but the vocabulary has 4 tokens"):
        ops.embedding(np.array(ids), np.zeros((4, 2)))


@pytest.mark.parametrize("ids", [np.zeros((2, 2)), np.zeros((2, 2), bool)])
def test_ids_must_be_whole_numbers(ids):
    with pytest.raises(InputError, match="embedding: ids must hold integers"):
        ops.embedding(ids, np.zeros((4, 2)))


@pytest.mark.parametrize("tokens", [[[1, 2]], np.array([[1, 2]], np.uint8), Tensor([[1, 2]])])
def test_token_ids_come_as_lists_arrays_or_tensors(tokens):
    np.testing.assert_array_equal(ops.as_ids(tokens), [[1, 2]])


@pytest.mark.parametrize("tokens", [[1, 2], [[1.0, 2.0]], [[[1]]], [[]]])
def test_other_token_ids_are_refused(tokens):
    with pytest.raises(InputError, match="tokens must be integers with axes"):
        ops.as_ids(tokens)
