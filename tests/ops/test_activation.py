import math

import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.testing import check_gradients

ACTIVATIONS = {
    "relu": ops.relu,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "gelu_tanh": ops.gelu,
    "gelu_exact": lambda x: ops.gelu(x, approximate="none"),
}
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)
LIMITS = {"tanh": (1.0, -1.0), "sigmoid": (1.0, 0.0)}  # at +large and -large; the others tend to x and to 0


def pull(op, x, dy=None):
    leaf = Tensor(x, requires_grad=True)
    y = op(leaf)
    return y.data, gradients(y, [leaf], np.ones_like(x) if dy is None else dy)[0]


@every_activation
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [30.0, 1e4, 1e10])
def test_far_tails_are_flat_or_the_identity(name, dtype, size):
    y, slope = pull(ACTIVATIONS[name], np.array([size, -size], dtype))
    np.testing.assert_allclose(y, LIMITS.get(name, (size, 0.0)), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(slope, (0.0 if name in LIMITS else 1.0, 0.0), atol=1e-6)


@pytest.mark.parametrize("slope", [0.01, 0.0, 0.5, -1.0])
def test_the_slope_of_leaky_relu_below_0_is_the_given_one(slope):
    y, derivative = pull(lambda x: ops.leaky_relu(x, negative_slope=slope), np.array([-2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(y, [-2.0 * slope, 0.0, 3.0])
    np.testing.assert_array_equal(derivative, [slope, slope, 1.0])
    assert ops.leaky_relu(np.array([-2, 3])).dtype == np.float32


@pytest.mark.parametrize("name", ["gelu_tanh", "gelu_exact"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_slope_of_gelu_is_0_or_1_however_far_out(name, dtype):
    far = np.array([10.0**power for power in range(1, 19)], dtype)
    y, slope = pull(ACTIVATIONS[name], np.concatenate([far, -far]))
    np.testing.assert_allclose(y, np.concatenate([far, np.zeros_like(far)]), rtol=0.0, atol=1e-20)
    np.testing.assert_allclose(slope, np.repeat([1.0, 0.0], len(far)), rtol=0.0, atol=1e-20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_slope_of_tanh_gelu_between_its_bends_and_its_tails(dtype):
    x = np.linspace(-12.0, 12.0, 481)
    u = np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)
    du = np.sqrt(2.0 / np.pi) * (1.0 + 3.0 * 0.044715 * x**2)
    expected = 0.5 * (1.0 + np.tanh(u)) + 0.5 * x * (1.0 - np.tanh(u) ** 2) * du
    y, slope = pull(ops.gelu, x.astype(dtype))
    np.testing.assert_allclose(y, 0.5 * x * (1.0 + np.tanh(u)), atol=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(slope, expected, atol=2e-6 if dtype == np.float32 else 1e-14)


@every_activation
def test_the_slope_is_taken_at_x(name):
    x = np.linspace(-4.0, 4.0, 90)  # not at 0, where relu has a corner
    check_gradients(ACTIVATIONS[name], x)
    _, slope = pull(ACTIVATIONS[name], x)
    numeric = (ACTIVATIONS[name](x + 1e-6) - ACTIVATIONS[name](x - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, numeric, atol=1e-8)


def test_exact_gelu_in_float32_is_within_two_roundings_of_erf():
    x = np.linspace(-8.0, 8.0, 20_001, dtype=np.float32)
    exact = np.array([0.5 * v * (1.0 + math.erf(v / math.sqrt(2.0))) for v in x.tolist()])
    error = abs(ops.gelu(x, approximate="none") - exact) / np.maximum(1.0, abs(exact))
    assert error.max() < 2.4e-7  # two units in the last place of 1


def test_the_two_forms_of_gelu_differ():
    x = np.linspace(-3.0, 3.0, 101)
    difference = abs(ops.gelu(x) - ops.gelu(x, approximate="none")).max()
    assert 1e-5 < difference < 1e-3


def test_gelu_cuts_large_inputs_into_blocks_that_change_nothing():
    x = np.random.default_rng(0).standard_normal((3, 70_000)).astype(np.float32)
    y, slope = pull(ops.gelu, x)
    for row in range(3):
        expected = pull(ops.gelu, x[row, -100:])
        np.testing.assert_allclose(y[row, -100:], expected[0], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(slope[row, -100:], expected[1], rtol=1e-6, atol=1e-7)


def test_activations_take_transposed_arrays():
    x = np.random.default_rng(0).standard_normal((4, 6))
    for op in ACTIVATIONS.values():
        for ours, expected in zip(pull(op, x.T), pull(op, np.ascontiguousarray(x.T)), strict=True):
            np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax], ids=lambda op: op.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_ignores_a_common_shift_however_large(op, dtype):
    x = np.array([[1.0, 2.0, 4.0], [-1.0, 0.0, 0.5]], dtype)
    for shift in (1e4, -1e4):
        for ours, expected in zip(pull(op, x + dtype(shift), x), pull(op, x, x), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_a_huge_gap_is_one_hot(dtype):
    np.testing.assert_array_equal(ops.softmax(np.array([800.0, 1.0, -1e4], dtype)), [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(ops.log_softmax(np.array([800.0, 0.0, -1e4], dtype)), [0.0, -800.0, -10800.0])


def test_softmax_gradient_has_its_cross_terms():
    x = np.array([0.3, -1.2, 2.0])
    p = ops.softmax(x)
    jacobian = np.stack([pull(ops.softmax, x, row)[1] for row in np.eye(3)])
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), atol=1e-15)


@pytest.mark.parametrize("approximate", ["erf", "", None, True])
def test_an_unknown_form_of_gelu_is_named(approximate):
    with pytest.raises(InputError, match=f"^gelu: approximate must be none or tanh, got {approximate!r}$"):
        ops.gelu(np.ones(2), approximate=approximate)


def test_relu_at_0_has_slope_0():
    y, slope = pull(ops.relu, np.array([-1.0, -0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(y, [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(slope, [0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax], ids=lambda op: op.name)
@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 1, 3, 4)])
def test_softmax_runs_along_the_last_axis_alone(op, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    y = op(x)
    np.testing.assert_allclose((np.exp(y) if op is ops.log_softmax else y).sum(axis=-1), 1.0)
    check_gradients(op, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_soft_cap_leaves_small_numbers_and_bounds_large_ones(dtype):
    y, slope = pull(lambda x: ops.soft_cap(x, cap=30.0), np.array([0.0, 1e-3, 15.0, 1e6, -np.inf], dtype))
    np.testing.assert_allclose(y, [0.0, 1e-3, 30.0 * math.tanh(0.5), 30.0, -30.0], rtol=1e-6)
    np.testing.assert_allclose(slope, [1.0, 1.0, 1.0 - math.tanh(0.5) ** 2, 0.0, 0.0], rtol=1e-6)
    assert y.dtype == slope.dtype == dtype


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan])
def test_a_soft_cap_is_above_0(cap):
    with pytest.raises(InputError, match=f"soft_cap: the cap must be above 0, got {cap}"):
        ops.soft_cap(np.ones(2), cap=cap)
