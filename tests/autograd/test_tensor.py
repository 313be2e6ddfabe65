import copy
import weakref

import numpy as np
import pytest

from numformer import InputError, Parameter, Tensor, gradients
from numformer.autograd import placeholder
from numformer.testing import check_gradients

X = np.array([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]], np.float32)
OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


@every_operator
@pytest.mark.parametrize(
    "other", [Tensor(X + 4), X + 4, 3, 2.5, np.float64(2.5), np.float32(2.5), np.int64(3)], ids=repr
)
def test_operators_take_tensors_arrays_and_numbers_on_both_sides(operator, other):
    plain = other.data if isinstance(other, Tensor) else other
    for ours, expected in (
        (operator(Tensor(X), other), operator(X, plain)),
        (operator(other, Tensor(X)), operator(plain, X)),
    ):
        assert isinstance(ours, Tensor)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours.data, expected, rtol=1e-6)


def test_matrix_product_takes_arrays_on_both_sides():
    np.testing.assert_array_equal((Tensor(X) @ X.T).data, X @ X.T)
    np.testing.assert_array_equal((X @ Tensor(X.T)).data, X @ X.T)


def test_minus_turns_the_sign():
    np.testing.assert_array_equal((-Tensor(X)).data, -X)


@every_operator
@pytest.mark.parametrize(
    "shapes", [((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 1), (1, 3)), ((3,), (2, 3)), ((), (2, 3)), ((4, 1, 3), (2, 1))]
)
def test_broadcasting_gradients_have_the_shape_of_their_tensor(operator, shapes):
    x, y = (np.random.default_rng(i).uniform(0.5, 1.5, shape) for i, shape in enumerate(shapes))
    check_gradients(operator, x, y)
    a, b = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
    operator(a, b).sum().backward()
    assert (a.grad.shape, b.grad.shape) == shapes


@pytest.mark.parametrize("shapes", [((2, 4, 3), (3, 5)), ((4, 3), (2, 3, 5)), ((2, 1, 4, 3), (6, 3, 5))])
def test_matrix_products_broadcast_their_leading_axes(shapes):
    check_gradients(lambda x, y: x @ y, *(np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)))


@pytest.mark.parametrize(
    "key",
    [
        1,
        -1,
        slice(1, None),
        (slice(None), 2),
        (..., 0),
        (None, 1),
        [1, 0, 1, 1],
        ([0, 1, 0], [2, 2, 2]),
        X > 0,
        (slice(None), [0, 0]),
    ],
    ids=str,
)
def test_indexing_takes_numpys_keys_and_adds_up_repeated_elements(key):
    tensor = Tensor(X.astype(np.float64), requires_grad=True)
    part = tensor[key]
    np.testing.assert_array_equal(part.data, X[key])
    dy = np.random.default_rng(0).standard_normal(part.shape)
    expected = np.zeros(X.shape)
    np.add.at(expected, key, dy)
    part.backward(dy)
    np.testing.assert_allclose(tensor.grad, expected)


def test_a_tensor_of_integers_is_a_key():
    np.testing.assert_array_equal(Tensor(X)[Tensor([1, 1])].data, X[[1, 1]])


def test_a_tensor_can_be_looped_over():
    assert [row.data.tolist() for row in Tensor(X)] == X.tolist()


@pytest.mark.parametrize("shape", [(3, 2), ((3, 2),), ([3, 2],), (-1, 2), (-1,), (1, 2, 3)], ids=str)
def test_reshape_takes_lengths_or_a_sequence(shape):
    expected = X.reshape(*shape)
    np.testing.assert_array_equal(Tensor(X).reshape(*shape).data, expected)
    check_gradients(lambda x: x.reshape(*shape), X)


@pytest.mark.parametrize("axes", [(), (1, 0, 2), (2, 0, 1)], ids=str)
def test_transpose_and_its_gradient(axes):
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(Tensor(x).transpose(*axes).data, x.transpose(*axes))
    check_gradients(lambda t: t.transpose(*axes) * np.cos(x.transpose(*axes)), x)


def test_T_reverses_the_axes():  # noqa: N802
    np.testing.assert_array_equal(Tensor(X).T.data, X.T)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean"])
def test_reductions_follow_numpy(name, axis, keepdims):
    ours = getattr(Tensor(X), name)(axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(ours.data, getattr(X, name)(axis=axis, keepdims=keepdims), rtol=1e-6)
    assert ours.dtype == np.float32
    check_gradients(lambda x: getattr(x, name)(axis=axis, keepdims=keepdims), X)


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([1.0, 2.0], np.float32),
        (1.5, np.float32),
        ([1, 2], np.int64),
        ([True], np.bool_),
        (np.ones(2), np.float64),
        (np.ones(2, np.float32), np.float32),
    ],
)
def test_numbers_become_float32_and_arrays_keep_their_dtype(data, dtype):
    assert Tensor(data).dtype == dtype


def test_numpy_is_the_array_itself():
    array = X.copy()
    assert Tensor(array).numpy() is array
    np.testing.assert_array_equal(np.asarray(Tensor(array)), array)


def test_item_is_a_python_number():
    assert type(Tensor([2.0]).sum().item()) is float


def test_detach_cuts_the_tensor_off():
    x = Tensor(X, requires_grad=True)
    y = (x * 2.0).detach()
    assert not y.requires_grad
    np.testing.assert_array_equal(y.data, 2.0 * X)
    (y * x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2.0 * X)


@pytest.mark.parametrize("data", [[1, 2], [True]])
def test_only_floating_point_tensors_can_require_gradients(data):
    with pytest.raises(InputError, match="only floating-point tensors can require gradients"):
        Tensor(data, requires_grad=True)


def test_a_parameter_can_be_frozen_and_thawed():
    p = Parameter(X)
    p.requires_grad = False
    assert not (p * 2.0).requires_grad
    p.requires_grad = True
    (p * 2.0).sum().backward()
    np.testing.assert_array_equal(p.grad, np.full_like(X, 2.0))


def test_a_deep_copy_has_a_gradient_of_its_own():
    p = Parameter(X)
    twin = copy.deepcopy(p)
    (twin * 2.0).sum().backward()
    assert type(twin) is Parameter
    assert p.grad is None
    assert twin.grad is not None
    twin.data += 1.0
    np.testing.assert_array_equal(p.data, X)


def test_repr_shows_values_shape_and_whether_gradients_flow():
    assert repr(Tensor([1.0, 2.5])) == "Tensor([1.  2.5], shape=(2,))"
    assert repr(Tensor([1.0], requires_grad=True)) == "Tensor([1.], shape=(1,), requires_grad=True)"
    assert repr(Tensor([1.0 / 3.0, 2e-9])) == "Tensor([3.3333e-01 2.0000e-09], shape=(2,))"
    assert len(repr(Tensor(np.zeros((1000, 1000))))) < 500


def test_a_placeholder_stands_at_the_same_place_and_keeps_no_values():
    x = Tensor(X, requires_grad=True)
    h = x * 2.0
    stand_in, values = placeholder(h), weakref.ref(h.data)
    del h
    assert values() is None
    assert (stand_in.shape, stand_in.dtype, stand_in.data.strides) == ((2, 3), np.float32, (0, 0))
    np.testing.assert_array_equal(gradients(stand_in, [x], X)[0], 2.0 * X)
    assert not placeholder(Tensor(X)).requires_grad
