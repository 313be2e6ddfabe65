import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.testing import check_gradients

X = np.random.default_rng(0).standard_normal((3, 4, 2))
HOLES = np.array([[True, False, True, False], [False, False, True, True], [False, False, False, False]])


def test_masked_mean_averages_what_the_mask_names():
    expected = [X[0, [0, 2]].mean(axis=0), X[1, 2:].mean(axis=0), np.zeros(2)]
    np.testing.assert_allclose(ops.masked_mean(X, HOLES), expected)
    check_gradients(lambda x: ops.masked_mean(x, HOLES), X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_mean_of_a_row_without_any_is_zero_and_passes_no_gradient(dtype):
    x = Tensor(X.astype(dtype), requires_grad=True)
    y = ops.masked_mean(x, HOLES)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.data[2], 0.0)
    (dx,) = gradients(y, [x], np.ones_like(y.data))
    np.testing.assert_array_equal(dx[2], 0.0)
    np.testing.assert_array_equal(dx[0], [[0.5, 0.5], [0, 0], [0.5, 0.5], [0, 0]])


def test_masked_mean_ignores_what_is_hidden():
    hidden = X.copy()
    hidden[~HOLES] = 1e30
    np.testing.assert_array_equal(ops.masked_mean(hidden, HOLES), ops.masked_mean(X, HOLES))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([True, True, True, True], 3),
        ([True, True, False, False], 1),  # padding on the right
        ([False, False, True, True], 3),  # on the left
        ([True, False, True, False], 2),  # holes
        ([False, True, False, False], 1),
        ([True, False, False, False], 0),
        ([False, False, False, False], 3),  # none
    ],
)
def test_last_true_is_the_last_position_that_is_true(row, expected):
    assert ops.last_true(np.array([row])).tolist() == [expected]
    assert ops.last_true(np.array([[False] * 3 + [True], row])).tolist() == [3, expected]


def test_last_true_needs_positions():
    with pytest.raises(InputError, match=r"^last_true: the mask has no positions$"):
        ops.last_true(np.ones((2, 0), bool))
    assert ops.last_true(np.ones((0, 3), bool)).shape == (0,)


@pytest.mark.parametrize("position", [[0, 3, 1], [-1, -4, 2], [2, 2, 2]])
def test_take_position_takes_one_position_of_every_sequence(position):
    position = np.array(position)
    np.testing.assert_array_equal(ops.take_position(X, position), X[[0, 1, 2], position])
    check_gradients(lambda x: ops.take_position(x, position), X)


@pytest.mark.parametrize(("position", "found"), [([0, 4, 0], "from 0 to 4"), ([-5, 0, 0], "from -5 to 0")])
def test_a_position_outside_the_sequence_is_named(position, found):
    with pytest.raises(InputError, match=f"^take_position: positions run {found}, but there are 4 positions$"):
        ops.take_position(X, np.array(position))
