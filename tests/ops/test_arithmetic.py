"""Numbers of every kind in float32, and what products, quotients and powers are differentiated to."""

import numpy as np
import pytest

from numformer import Tensor, gradients, ops
from numformer.testing import check_gradients

WHOLE = np.array([[1, 2], [3, 4]])
FLOAT = np.array([[0.5, 1.5], [2.5, 3.5]], np.float32)
IN_FLOAT32 = {
    "+ number": lambda x: x + 0.5,
    "number -": lambda x: 0.5 - x,
    "* number": lambda x: x * 0.5,
    "/ number": lambda x: x / 2,
    "number /": lambda x: 2 / x,
    "/ itself": lambda x: x / x,
    "+ float32": lambda x: x + FLOAT,
    "float32 @": lambda x: Tensor(FLOAT) @ x,
    "@ float32": lambda x: x @ FLOAT,
    "mean": lambda x: x.mean(axis=0),
    "where": lambda x: ops.where(x.data > 1, x, 0.5),
    "linear": lambda x: ops.linear(x, FLOAT, FLOAT[0]),
    "layer_norm": lambda x: ops.layer_norm(x, FLOAT[0], FLOAT[1]),
    "rms_norm": lambda x: ops.rms_norm(x, FLOAT[0]),
    "dropout": lambda x: ops.dropout(x, p=0.5, key=(1,)),
    "masked_mean": lambda x: ops.masked_mean(x.reshape(1, 2, 2), np.ones((1, 2), bool)),
    "cross_entropy": lambda x: ops.cross_entropy(x, np.array([0, 1])),
    **{
        name: getattr(ops, name)
        for name in ("relu", "tanh", "sigmoid", "silu", "gelu", "softmax", "log_softmax", "exp", "log")
    },
}


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.uint64])
@pytest.mark.parametrize("name", IN_FLOAT32)
def test_whole_numbers_count_as_float32(name, dtype):
    found = IN_FLOAT32[name](Tensor(WHOLE.astype(dtype)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.data, IN_FLOAT32[name](Tensor(WHOLE.astype(np.float32))).data, rtol=1e-6)


@pytest.mark.parametrize(
    "call", [lambda x: x + 2, lambda x: 2 - x, lambda x: x * x, lambda x: x @ x, lambda x: x.sum()]
)
def test_whole_numbers_among_themselves_stay_whole(call):
    assert call(Tensor(WHOLE)).dtype == np.int64


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64])
@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax], ids=lambda op: op.name)
def test_a_softmax_of_unsigned_integers_does_not_wrap_around(op, dtype):
    x = np.array([[3, 250, 0], [0, 1, 2]])
    np.testing.assert_allclose(op(x.astype(dtype)), op(x.astype(np.float64)), rtol=1e-6, atol=1e-30)


# Where


def test_where_takes_the_gradient_to_what_was_taken():
    condition = np.array([[True, False], [False, True]])
    x, y = np.random.default_rng(0).standard_normal((2, 2)), np.random.default_rng(1).standard_normal(2)
    check_gradients(lambda x, y: ops.where(condition, x, y), x, y)
    np.testing.assert_array_equal(ops.where(condition, x, y), np.where(condition, x, y))


def test_a_product_with_itself_and_a_quotient_by_itself():
    x = np.random.default_rng(0).uniform(0.5, 2.0, 5)
    check_gradients(lambda x: x * x, x)
    (dx,) = gradients((tensor := Tensor(x, requires_grad=True)) / tensor, [tensor], np.ones(5))
    np.testing.assert_allclose(dx, 0.0, atol=1e-15)


def test_operators_do_not_write_into_what_they_are_given():
    x, y = np.ones((2, 3), np.float32), np.ones(3, np.float32)
    for operator in (ops.add, ops.sub, ops.mul, ops.div):
        result = operator(x, y)
        result += 5.0
    np.testing.assert_array_equal(x, 1.0)
    np.testing.assert_array_equal(y, 1.0)


def test_of_a_power_only_what_is_wanted_is_computed(monkeypatch):
    x = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    y = x**3
    monkeypatch.setattr(np, "greater_equal", None)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, [12.0, 27.0])
