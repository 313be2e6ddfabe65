"""An axis of length 0 is an axis like any other: right shapes, and gradients of zeros."""

import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops, testing
from numformer.autograd import OPS

# Where there is nothing to choose from, to divide by or to cut, an empty axis is an error instead.
SENSELESS = {
    **dict.fromkeys(("softmax", "log_softmax", "cross_entropy", "embedding", "embedding_bag"), "V"),
    **{
        "attention": "HG",
        "attention_values": "HG",
        "split_heads": "H",
        "reshape": "BTD",
        "take_position": "T",
        **dict.fromkeys(("max", "mean", "min"), "BT"),
        "index": "BTV",
    },
}


def axes_of(line):
    axes = {axis for argument in line.arguments for axis in argument.axes if axis.isalpha()}
    return sorted(axes | {"B", "T"} if "..." in line.text else axes)


CASES = [
    (op, line, axis)
    for op in OPS.values()
    for line in op.shape_lines
    for axis in axes_of(line)
    if axis not in SENSELESS.get(op.name, "")
]


@pytest.mark.parametrize(
    ("op", "line", "axis"), CASES, ids=[f"{axis}=0 {op.name}: {line.text}" for op, line, axis in CASES]
)
def test_an_empty_axis_gives_right_shapes_and_no_gradient(op, line, axis, monkeypatch):
    monkeypatch.setitem(testing.SIZES, axis, 0)
    arguments = testing.draw_arguments(line, np.random.default_rng(0), np.float32)
    arguments = [abs(a) if op.name in ("log", "power") else a for a in arguments]
    value, vjp = op.value_and_vjp(*arguments, **testing.settings_of(line))
    values = value if isinstance(value, tuple) else (value,)
    assert [np.shape(part) for part in values] == testing.expected_shapes(line)
    assert all(np.isfinite(part).all() for part in values)
    found = vjp(*(np.ones_like(part) for part in values))
    for argument, grad in zip(arguments, found if isinstance(found, tuple) else (found,), strict=False):
        if grad is not None:
            assert (grad.shape, grad.dtype) == (argument.shape, argument.dtype)
            assert np.isfinite(grad).all()
            if not any(part.size for part in values):
                assert not grad.any()


@pytest.mark.parametrize(
    "settings", [{}, {"causal": True}, {"causal": True, "window": 2}, {"dropout": 0.5, "key": (1,)}], ids=str
)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("T", "S"), [(0, 5), (5, 0), (0, 0)])
def test_attention_without_queries_or_keys(T, S, with_bias, settings):
    q, k, v = (Tensor(np.ones((2, 4, length, 3)), requires_grad=True) for length in (T, S, S))
    bias = Tensor(np.ones((1, 4, T, S)), requires_grad=True) if with_bias else None
    out, weights = ops.attention(q, k, v, np.ones((2, 1, T, S), bool), bias, return_weights=True, **settings)
    assert (out.shape, weights.shape) == ((2, 4, T, 3), (2, 4, T, S))
    assert not out.data.any()
    wanted = [q, k, v, *([bias] if with_bias else [])]
    for tensor, grad in zip(wanted, gradients(out.sum() + weights.sum(), wanted), strict=True):
        assert grad.shape == tensor.shape
        assert not grad.any()


def test_a_reduction_over_nothing():
    x = Tensor(np.ones((2, 0, 3), np.float32), requires_grad=True)
    np.testing.assert_array_equal(x.sum(axis=1).data, np.zeros((2, 3)))
    assert gradients(x.sum(axis=(0, 1)), [x], np.ones(3))[0].shape == (2, 0, 3)
    assert x.mean(axis=2).shape == (2, 0)
    assert gradients(x.mean(axis=2), [x], np.ones((2, 0)))[0].shape == (2, 0, 3)


@pytest.mark.parametrize("call", [ops.softmax, ops.log_softmax], ids=lambda op: op.name)
def test_a_softmax_over_no_classes_is_refused(call):
    with pytest.raises(InputError, match=f"^{call.name}: "):
        call(np.ones((2, 0)))


@pytest.mark.parametrize("bias", [None, np.arange(4.0)])
def test_a_linear_map_of_no_numbers_is_its_bias(bias):
    y = ops.linear(np.ones((2, 3, 0)), np.ones((4, 0)), bias)
    np.testing.assert_array_equal(y, np.broadcast_to(0.0 if bias is None else bias, (2, 3, 4)))
