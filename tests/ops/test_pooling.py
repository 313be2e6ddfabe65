"""Poolings at the edges: rows of no True, masks with holes, padding on the left."""

import numpy as np
import pytest

from numformer import InputError, ops
from numformer.autograd import Tensor


def bools(*rows):
    return np.array([[letter == "x" for letter in row] for row in rows])


def test_the_last_true_position_is_found_behind_holes_and_left_padding():
    mask = bools("xxxx", "xx..", ".xx.", "x.x.", "..xx", "x...", "...x")
    assert ops.last_true(mask).tolist() == [3, 1, 2, 2, 3, 0, 3]


def test_a_row_of_no_true_has_its_last_position():
    assert ops.last_true(bools("...", "x..")).tolist() == [2, 0]


def test_a_mask_without_positions_is_refused():
    with pytest.raises(InputError, match="the mask has no positions"):
        ops.last_true(np.zeros((2, 0), bool))


def test_the_mean_takes_the_true_positions_alone():
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    mean = ops.masked_mean(x, bools("x.x.", "...x"))
    np.testing.assert_allclose(mean, [x[0, [0, 2]].mean(axis=0), x[1, 3]])


def test_a_row_of_no_true_is_averaged_to_zeros_with_zero_gradients():
    x = Tensor(np.ones((2, 3, 4), np.float32), requires_grad=True)
    mean = ops.masked_mean(x, bools("...", "xx."))
    mean.backward(np.ones((2, 4), np.float32))
    np.testing.assert_array_equal(mean.data, np.repeat([[0.0], [1.0]], 4, axis=1))
    np.testing.assert_array_equal(x.grad[:, :, 0], [[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
