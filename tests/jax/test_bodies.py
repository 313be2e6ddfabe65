"""What is promised of ops and layers on arrays of JAX besides values and gradients."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from numformer import InputError, Tensor, capture, nn, no_grad, ops
from numformer.autograd import OPS
from numformer.models import Bart, BartConfig
from numformer.ops import relative_buckets

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

from numformer.jax import _available  # noqa: E402

jnp = jax.numpy
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# Who imports what


def test_the_first_array_of_jax_brings_the_bodies():
    code = (
        "import sys, numformer, jax.numpy as jnp\n"
        "assert 'numformer.jax' not in sys.modules\n"
        "print(numformer.ops.relu(jnp.array([-1.0, 2.0])).tolist())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[0.0, 2.0]"


def test_jax_that_is_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(InputError, match=r"^models under JAX need the package jax, .* pip install 'numformer\[jax\]'$"):
        _available.check()


def test_jax_that_is_too_old_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(__version__="0.4.1", __version_info__=(0, 4, 1)))
    with pytest.raises(InputError, match=r"need jax 0.10 or newer, got 0.4.1: pip install 'numformer\[jax\]'$"):
        _available.check()


def test_an_op_without_a_body_is_named(monkeypatch):
    ops.exp(jnp.ones(2))
    monkeypatch.delitem(OPS["exp"].bodies, "jax")
    with pytest.raises(InputError, match=r"^exp has no body for arrays of jax; it has one for numpy$"):
        ops.exp(jnp.ones(2))


# What is given beside arrays of JAX


def test_arrays_and_lists_of_numpy_stand_beside_those_of_jax():
    weight = jnp.asarray(draw(5, 4))
    np.testing.assert_array_equal(ops.embedding(np.array([[1, 4]]), weight), weight[jnp.array([[1, 4]])])
    np.testing.assert_array_equal(ops.index(weight, key=[1, 4, 1]), weight[jnp.array([1, 4, 1])])
    np.testing.assert_array_equal(ops.index(weight, key=(Tensor([1, 4]), slice(2))), weight[jnp.array([1, 4]), :2])


def test_a_tensor_that_wants_no_gradient_is_a_constant_and_another_one_is_refused():
    x, factor = jnp.ones((2, 3)), Tensor(draw(3), requires_grad=True)
    np.testing.assert_array_equal(ops.mul(x, factor.detach()), np.ones((2, 3)) * factor.data)
    with pytest.raises(InputError, match=r"^mul was given an array of jax beside a Tensor"):
        ops.mul(x, factor)
    with no_grad():
        assert ops.mul(x, factor).shape == (2, 3)


def test_frozen_parameters_and_buffers_that_are_not_bound_are_constants():
    config = BartConfig(vocab_size=9, d_model=8, num_heads=2, d_ff=8, num_encoder_layers=1, num_decoder_layers=1)
    model = Bart(config).eval()
    ids = np.array([[3, 4, 5]])
    expected = model(ids, ids).data
    params = {name: jnp.asarray(p.data) for name, p in model.named_parameters()}
    assert "logits_bias" not in params
    np.testing.assert_allclose(model.bind(params)(ids, ids), expected, atol=1e-5)
    model.freeze("decoder")
    params = {name: jnp.asarray(p.data) for name, p in model.named_parameters() if p.requires_grad}
    np.testing.assert_allclose(model.bind(params)(ids, ids), expected, atol=1e-5)


def test_settings_go_by_their_other_names_and_misspelt_ones_are_refused():
    x = jnp.ones((2, 3))
    assert ops.sum(x, dim=1, keepdim=True).shape == (2, 1)
    with pytest.raises(InputError, match=r"^unknown setting axsi; known are "):
        ops.sum(x, axsi=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ops.soft_cap(x, cap=0.0),
        lambda x: ops.gelu(x, approximate="no"),
        lambda x: ops.dropout(x, p=1.0, key=(1,)),
        lambda x: ops.reshape(x, shape=(4, 5)),
        lambda x: ops.mse(x, x[:, :1]),
        lambda x: ops.l1(x, x, reduction="no"),
        lambda x: ops.cross_entropy(x, np.zeros(2, int), label_smoothing=2.0),
        lambda x: ops.rope(x[None, None], np.arange(2)),
        lambda x: ops.attention(*(x[None, None],) * 3, window=2),
        lambda x: ops.attention(*(x[None, None],) * 3, soft_cap=-1.0),
    ],
)
def test_what_numpy_refuses_is_refused_in_the_same_words(call):
    x = draw(2, 3)
    with pytest.raises(InputError) as expected:
        call(x)
    with pytest.raises(InputError) as found:
        call(jnp.asarray(x))
    assert str(found.value) == str(expected.value)


# Values that the shape lines do not reach


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("settings", [{}, {"soft_cap": 2.0}, {"return_weights": True}])
def test_a_query_with_nothing_to_attend_to_gets_zeros_and_zero_gradients(bias, settings):
    q, k, v = jnp.asarray(draw(1, 2, 3, 4)), jnp.asarray(draw(1, 2, 5, 4)), jnp.asarray(draw(1, 2, 5, 4))
    mask = np.ones((1, 1, 3, 5), bool)
    mask[0, 0, 1] = False
    added = jnp.asarray(draw(1, 1, 3, 5)) if bias else None

    def output(q, k, v):
        result = ops.attention(q, k, v, mask, added, **settings)
        return result[0] if "return_weights" in settings else result

    y, pull = jax.vjp(output, q, k, v)
    assert (np.asarray(y)[:, :, 1] == 0.0).all()
    dq, dk, dv = map(np.asarray, pull(jnp.ones_like(y)))
    assert (dq[:, :, 1] == 0.0).all()
    assert all(np.isfinite(each).all() for each in (dq, dk, dv))


@pytest.mark.parametrize("length", [2, 7])
@pytest.mark.parametrize("window", [None, 2])
def test_causal_attention_lines_the_last_query_up_with_the_last_key(length, window):
    q, k, v = draw(1, 4, 5, 6), draw(1, 2, length, 6), draw(1, 2, length, 6)
    expected = ops.attention(q, k, v, causal=True, window=window)
    found = ops.attention(*map(jnp.asarray, (q, k, v)), causal=True, window=window)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rotary_positions_far_out_are_as_exact_as_near_ones():
    x, positions = draw(1, 1, 4, 8), np.array([0, 5_000, 65_537, 131_071])
    np.testing.assert_allclose(ops.rope(jnp.asarray(x), positions), ops.rope(x, positions), atol=3e-4)
    near = positions // 64
    np.testing.assert_allclose(ops.rope(jnp.asarray(x), near), ops.rope(x, near), atol=6e-6)


def test_targets_that_do_not_count_add_nothing_and_classes_weigh_what_they_weigh():
    logits, targets = draw(6, 3), np.array([0, 1, -100, 2, 2, -100])
    for settings in ({}, {"class_weights": np.array([1.0, 0.0, 3.0])}, {"label_smoothing": 0.2}, {"reduction": "sum"}):
        expected = ops.cross_entropy(logits, targets, **settings)
        found = jax.jit(lambda x, settings=settings: ops.cross_entropy(x, targets, **settings))(logits)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    nothing = np.full(6, -100)
    loss, slope = jax.value_and_grad(ops.cross_entropy)(logits, nothing)
    assert (float(loss), np.abs(slope).max()) == (0.0, 0.0)


def test_an_id_outside_the_table_shows_as_nan():
    table = jnp.ones((3, 2))
    assert np.isnan(ops.embedding(np.array([[0, 3]]), table)).tolist() == [[[False] * 2, [True] * 2]]
    assert np.isnan(ops.cross_entropy(table, np.array([0, 1, 2])))


def test_the_padding_row_gets_no_gradient():
    ids, table = np.array([[0, 1, 1]]), jnp.asarray(draw(3, 2))
    for op, given in ((ops.embedding, ids), (ops.embedding_bag, ids[..., None])):
        slope = jax.grad(lambda t, op=op, given=given: op(given, t, padding_id=0).sum())(table)
        assert slope.tolist() == [[0.0, 0.0], [2.0, 2.0], [0.0, 0.0]]


def test_distances_fall_into_the_buckets_of_numpy():
    distances = np.arange(-200, 201)
    for both_ways in (False, True):
        expected = relative_buckets(distances, 32, 128, both_ways=both_ways)
        find = jax.jit(lambda d, both_ways=both_ways: relative_buckets(d, 32, 128, both_ways=both_ways))
        np.testing.assert_array_equal(find(distances), expected)


# Layers


def test_positions_are_added_by_number_to_arrays_that_are_not_there_yet():
    layer, x = nn.PositionalEncoding(6, 9), draw(1, 3, 6)
    positions = np.array([[4, 0, 8]])
    np.testing.assert_allclose(jax.jit(layer)(x, positions), layer(x, positions).data, atol=1e-6)
    np.testing.assert_allclose(jax.jit(layer)(x), layer(x).data, atol=1e-6)


def test_axes_are_joined_of_arrays_that_are_not_there_yet():
    for layer in (nn.Flatten(), nn.Flatten(0, 1), nn.Flatten(1, 2)):
        x = draw(2, 3, 4, 5)
        np.testing.assert_array_equal(jax.jit(layer)(x), layer(x).data)


def test_capture_sees_what_modules_compute_under_jax():
    layer = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    bound = layer.bind({name: jnp.asarray(p.data) for name, p in layer.named_parameters()})
    with capture(bound, ops=True) as seen:
        y = bound(jnp.ones((2, 4)))
    assert list(seen.tensors) == ["0:linear", "0", "1:relu", "1", ""]
    assert seen.tensors["1"] is y
    assert seen.tensors["0"].shape == (2, 3)
