import numpy as np
import pytest

from numformer import Tensor, gradients, ops
from numformer.testing import check_gradients

D = 7


def affine(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.5, 1.5, D).astype(dtype), rng.standard_normal(D).astype(dtype)]


NORMS = {"layer_norm": (ops.layer_norm, 2), "rms_norm": (ops.rms_norm, 1)}
every_norm = pytest.mark.parametrize(("op", "num_weights"), NORMS.values(), ids=NORMS)


@every_norm
@pytest.mark.parametrize("shape", [(4, D), (2, 3, D), (2, 1, 3, D)])
def test_gradients_for_any_number_of_leading_axes(op, num_weights, shape):
    x = 3.0 * np.random.default_rng(1).standard_normal(shape) + 2.0
    check_gradients(op, x, *affine()[:num_weights])


@every_norm
def test_blocks_of_rows_change_nothing(op, num_weights, monkeypatch):
    rng = np.random.default_rng(1)
    x, dy, weights = rng.standard_normal((10, D)), rng.standard_normal((10, D)), affine()[:num_weights]

    def run():
        leaves = [Tensor(a, requires_grad=True) for a in (x, *weights)]
        y = op(*leaves)
        return [y.data, *gradients(y, leaves, dy)]

    whole = run()
    monkeypatch.setattr("numformer.autograd.blocks.BLOCK", 3 * D)
    for a, b in zip(whole, run(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_every_row_gets_mean_0_and_variance_1():
    x = 5.0 * np.random.default_rng(1).standard_normal((4, 3, D)) - 20.0
    y = ops.layer_norm(x, np.ones(D), np.zeros(D))
    np.testing.assert_allclose(y.mean(axis=-1), 0.0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=-1), 1.0, atol=1e-4)


def test_every_row_gets_root_mean_square_1():
    x = 5.0 * np.random.default_rng(1).standard_normal((4, 3, D)) - 20.0
    np.testing.assert_allclose((ops.rms_norm(x, np.ones(D)) ** 2).mean(axis=-1), 1.0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_a_constant_row_becomes_the_bias_and_its_gradient_stays_finite(value, dtype):
    weight, bias = affine(dtype=dtype)
    x = Tensor(np.full((2, D), value, dtype), requires_grad=True)
    y = ops.layer_norm(x, weight, bias)
    np.testing.assert_allclose(y.data, np.tile(bias, (2, 1)), atol=1e-3)
    assert np.isfinite(gradients(y, [x], np.ones_like(y.data))[0]).all()


@every_norm
def test_eps_is_inside_the_root(op, num_weights):
    x = np.array([[3.0, -3.0, 3.0, -3.0]])
    weights = [np.ones(4), np.zeros(4)][:num_weights]
    np.testing.assert_allclose(op(x, *weights, eps=16.0), x / 5.0)


def test_layer_norm_gradient_sums_to_zero_over_a_row():
    # Adding a constant to a row changes nothing, so neither may the gradient along it.
    x = Tensor(np.random.default_rng(1).standard_normal((3, D)), requires_grad=True)
    y = ops.layer_norm(x, *affine())
    (dx,) = gradients(y, [x], np.random.default_rng(2).standard_normal(y.shape))
    np.testing.assert_allclose(dx.sum(axis=-1), 0.0, atol=1e-13)
