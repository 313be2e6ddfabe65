"""What every op promises, read from its shape line: a new op is tested by existing."""

import copy
import inspect

import numpy as np
import pytest

from numformer import Tensor, testing
from numformer.autograd import OPS

CASES = [(op, line) for op in OPS.values() for line in op.shape_lines]
every_case = pytest.mark.parametrize(("op", "line"), CASES, ids=[f"{op.name}: {line.text}" for op, line in CASES])


def call(op, line, dtype, seed=0):
    arguments = testing.draw_arguments(line, np.random.default_rng(seed), dtype)
    if op.name in ("log", "power"):
        arguments = [abs(a) for a in arguments]
    return arguments, op.value_and_vjp(*arguments, **testing.settings_of(line))


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def test_every_op_has_a_shape_line():
    assert [op.name for op in OPS.values() if not op.shape_lines] == []


@every_case
def test_result_shapes_are_the_promised_ones(op, line):
    _, (value, _) = call(op, line, np.float32)
    assert [np.shape(part) for part in as_tuple(value)] == testing.expected_shapes(line)


@every_case
def test_gradients_agree_with_central_differences(op, line):
    arguments, _ = call(op, line, np.float64)
    settings = testing.settings_of(line)
    testing.check_gradients(lambda *xs: op(*xs, **settings), *arguments)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_in_is_dtype_out_forward_and_backward(op, line, dtype):
    arguments, (value, vjp) = call(op, line, dtype)
    parts = as_tuple(value)
    assert {part.dtype for part in parts} == {np.dtype(dtype)}
    grads = as_tuple(vjp(*(np.ones_like(part) for part in parts)))
    assert {grad.dtype for grad in grads if grad is not None} == {np.dtype(dtype)}
    parameters = [p for p in inspect.signature(op.body).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(grads) == (len(parameters) or len(arguments))


@every_case
def test_inputs_and_upstream_gradients_are_left_alone(op, line):
    arguments, (value, vjp) = call(op, line, np.float32)
    before = copy.deepcopy(arguments)
    dys = [np.random.default_rng(1).standard_normal(np.shape(part)).astype(np.float32) for part in as_tuple(value)]
    dys_before, value_before = copy.deepcopy(dys), copy.deepcopy(value)
    vjp(*dys)
    for kept, now in zip(
        [*before, *dys_before, *as_tuple(value_before)], [*arguments, *dys, *as_tuple(value)], strict=True
    ):
        np.testing.assert_array_equal(kept, now)


@every_case
def test_the_pullback_is_linear_and_can_be_called_twice(op, line):
    _, (value, vjp) = call(op, line, np.float64)
    dys = [np.random.default_rng(2).standard_normal(np.shape(part)) for part in as_tuple(value)]
    once, twice = as_tuple(vjp(*dys)), as_tuple(vjp(*(2.0 * dy for dy in dys)))
    for a, b in zip(once, twice, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(2.0 * a, b, rtol=1e-10, atol=1e-12)


@every_case
def test_arrays_in_give_arrays_out_and_tensors_give_tensors(op, line):
    arguments, (value, _) = call(op, line, np.float32)
    settings = testing.settings_of(line)
    plain = as_tuple(op(*arguments, **settings))
    wrapped = as_tuple(op(*(Tensor(a) for a in arguments), **settings))
    for expected, array, tensor in zip(as_tuple(value), plain, wrapped, strict=True):
        assert not isinstance(array, Tensor)
        assert isinstance(tensor, Tensor)
        np.testing.assert_array_equal(expected, array)
        np.testing.assert_array_equal(expected, tensor.data)
