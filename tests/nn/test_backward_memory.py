"""What `Module.backward` returns belongs to the caller: it may be written to, and shares memory with nothing else."""

import numpy as np
import pytest

from numformer import Tensor, ops
from numformer.nn import Linear, Module, Sequential


class Function(Module):
    """A module that computes one function of its inputs."""

    def __init__(self, function):
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


ONE_INPUT = {
    "itself": lambda x: x,
    "twice": lambda x: x + x,
    "reshaped and back": lambda x: x.reshape(3, 2).reshape(2, 3),
    "transposed and back": lambda x: x.T.T,
    "plus a number": lambda x: x + 1.0,
    "sum": lambda x: x.sum(axis=1),
    "mean": lambda x: x.mean(axis=1),
    "sum of all": lambda x: x.sum(),
    "part": lambda x: x[:1],
    "joined": lambda x: ops.concat(x, x, axis=0),
    "linear": Linear(3, 4),
}
TWO_INPUTS = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "joined": lambda x, y: ops.concat(x, y, axis=0),
    "of views": lambda x, y: x.reshape(6) + y.reshape(6),
    "chosen": lambda x, y: ops.where(np.ones((2, 3), bool), x, y),
    "sum of all": lambda x, y: (x + y).sum(),
    "mean of all": lambda x, y: (x + y).mean(),
}


def backward(function, inputs, as_tensor):
    """Return the gradient that was given and what `backward` returned."""
    module = Function(function)
    out = module(*inputs)
    dy = np.random.default_rng(5).standard_normal(out.shape).astype(np.float32)
    return dy, module.backward(Tensor(dy) if as_tensor else dy)


def x_and_y():
    return [np.random.default_rng(seed).standard_normal((2, 3)).astype(np.float32) for seed in (1, 2)]


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("name", ONE_INPUT)
def test_the_callers_gradient_is_never_handed_back(name, as_tensor):
    dy, dx = backward(ONE_INPUT[name], x_and_y()[:1], as_tensor)
    before = dy.copy()
    assert not np.shares_memory(dx, dy)
    dx *= 5.0
    np.testing.assert_array_equal(dy, before)


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("name", TWO_INPUTS)
def test_two_inputs_never_share_a_gradient(name, as_tensor):
    dy, (dx0, dx1) = backward(TWO_INPUTS[name], x_and_y(), as_tensor)
    for a, b in ((dx0, dx1), (dx0, dy), (dx1, dy)):
        assert not np.shares_memory(a, b)
    before = dx1.copy()
    dx0 *= 5.0
    np.testing.assert_array_equal(dx1, before)
    dx1 *= 5.0


def test_one_array_given_twice_gets_two_gradients():
    x, _ = x_and_y()
    _, (dx0, dx1) = backward(lambda x, y: x * 2.0 + y * 3.0, [x, x], False)
    np.testing.assert_allclose(dx0 * 1.5, dx1, rtol=1e-6)
    assert not np.shares_memory(dx0, dx1)


def test_the_gradient_of_a_parameter_shares_nothing_with_what_is_returned():
    whole = Sequential(Linear(3, 3), Linear(3, 3))
    whole(x_and_y()[0])
    dx = whole.backward(np.ones((2, 3), np.float32))
    for parameter in whole.parameters():
        assert not np.shares_memory(dx, parameter.grad)
        assert parameter.grad.flags.writeable
