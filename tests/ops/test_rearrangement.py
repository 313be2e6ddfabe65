"""Axes counted from either end, parts, and what joins them."""

import itertools

import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.testing import check_gradients


def signed_permutations(ndim):
    """Return every order of the axes, each axis counted from the front or from the end."""
    for order in itertools.permutations(range(ndim)):
        for signs in itertools.product((0, ndim), repeat=ndim):
            yield tuple(axis - shift for axis, shift in zip(order, signs, strict=True))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)], ids=str)
def test_transpose_takes_every_axis_from_the_front_or_from_the_end(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    for axes in signed_permutations(len(shape)):
        tensor = Tensor(x, requires_grad=True)
        y = tensor.permute(*axes)
        np.testing.assert_array_equal(y.data, x.transpose(axes))
        weights = np.random.default_rng(1).standard_normal(y.shape)
        expected = np.zeros(shape)
        for place in np.ndindex(shape):  # every element goes to one place, and its gradient comes from there
            expected[place] = weights[tuple(place[axis] for axis in axes)]
        np.testing.assert_array_equal(gradients(y, [tensor], weights)[0], expected, err_msg=str(axes))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4)], ids=str)
def test_transpose_without_axes_reverses_them(shape):
    x = Tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)
    y = x.transpose()
    np.testing.assert_array_equal(y.data, x.data.T)
    np.testing.assert_array_equal(gradients(y, [x], x.data.T)[0], x.data)


@pytest.mark.parametrize("axes", [(0, 1), (0, 1, 1), (0, 1, 3), (0, 1, -4), (0, 1, 2, 2)], ids=str)
def test_axes_that_are_no_order_of_the_axes_are_refused(axes):
    with pytest.raises(InputError, match=r"^transpose: "):
        Tensor(np.ones((2, 3, 4)), requires_grad=True).permute(*axes)


AXES = [
    None,
    (),
    *range(-3, 3),
    *itertools.permutations((0, 1, 2), 2),
    (-1, 0),
    (1, -1),
    (-2, -3),
    (0, 1, 2),
    (-1, 0, -2),
]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("op", [ops.sum, ops.mean], ids=lambda op: op.name)
def test_reductions_take_axes_from_either_end(op, keepdims, axis):
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    y = op(x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(y, getattr(np, op.name)(x, axis=axis, keepdims=keepdims), rtol=1e-12)
    check_gradients(lambda x: op(x, axis=axis, keepdims=keepdims), x)


@pytest.mark.parametrize("axis", range(-3, 3))
def test_concat_joins_along_any_axis(axis):
    lengths, parts = (2, 1, 0, 3), []
    for number, length in enumerate(lengths):
        shape = [2, 3, 4]
        shape[axis] = length
        parts.append(np.random.default_rng(number).standard_normal(shape))
    np.testing.assert_array_equal(ops.concat(*parts, axis=axis), np.concatenate(parts, axis=axis))
    check_gradients(lambda *xs: ops.concat(*xs, axis=axis), *parts)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ops.sum(x, axis=3),
        lambda x: ops.mean(x, axis=-4),
        lambda x: ops.sum(x, axis=(0, 0)),
        lambda x: ops.concat(x, x, axis=3),
        lambda x: ops.concat(x, x, axis=-4),
        lambda x: ops.concat(),
        lambda x: ops.split(x, sections=0),
        lambda x: ops.split(x, sections=3),
        lambda x: ops.split_heads(x, num_heads=0),
        lambda x: ops.split_heads(x, num_heads=3),
    ],
)
def test_axes_and_parts_that_do_not_exist_are_one_sentence(call):
    with pytest.raises(InputError) as raised:
        call(np.ones((2, 3, 4)))
    assert "\n" not in str(raised.value)


def test_parts_of_a_split_have_gradients_of_their_own():
    x = np.random.default_rng(0).standard_normal((2, 6))
    check_gradients(lambda x: ops.split(x, sections=3), x)
    check_gradients(lambda x: ops.split(x, sections=3)[::2], x)


def test_whole_numbers_join_floats_in_the_floats_own_type():
    x, y = np.ones(2, np.float32), np.array([1, 2])
    assert ops.concat(x, y, axis=0).dtype == np.float32
    assert ops.stack([x, y]).dtype == np.float32
    assert ops.concat(y, y, axis=0).dtype == y.dtype
