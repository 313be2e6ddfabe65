"""Dropout under JAX: the key is an argument of the compiled function, and every step draws another mask."""

import numpy as np
import pytest

from numformer import GPT, InputError, nn, ops
from numformer.nn.stack import set_recompute

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

from numformer.jax import keyed  # noqa: E402

ONES = np.ones((4, 6), np.float32)


class Twice(nn.Module):
    """A linear map with dropout before it and after it."""

    def __init__(self):
        self.first, self.linear, self.second = nn.Dropout(0.5), nn.Linear(6, 6, bias=False), nn.Dropout(0.5)

    def forward(self, x):
        return self.second(self.linear(self.first(x)))


@pytest.fixture(scope="module")
def step():
    """One compiled function of parameters and a key: which elements two layers keep of ones."""
    layer = Twice()
    eye = {"linear.weight": np.eye(6, dtype=np.float32)}

    @jax.jit
    def masks(key):
        with keyed(key):
            return layer.bind(eye)(jax.numpy.asarray(ONES))

    return masks


def test_two_steps_of_one_compiled_function_draw_different_masks(step):
    first, second = step(jax.random.key(1)), step(jax.random.key(2))
    assert step._cache_size() == 1  # it was compiled once, so the masks are no constants of it
    assert (np.asarray(first) != np.asarray(second)).any()


def test_the_same_key_draws_the_same_masks(step):
    np.testing.assert_array_equal(step(jax.random.key(3)), step(jax.random.key(3)))


def test_the_layers_of_a_model_draw_from_keys_of_their_own():
    layer = nn.Dropout(0.5)
    x = jax.numpy.ones(64)
    with keyed(jax.random.key(0)):
        assert (np.asarray(layer(x)) != np.asarray(layer(x))).any()


def test_a_share_p_is_dropped_and_the_rest_scaled_up():
    with keyed(jax.random.key(0)):
        y = np.asarray(nn.Dropout(0.25)(jax.numpy.ones((100, 100))))
    assert sorted(set(y.ravel().tolist())) == [0.0, pytest.approx(1.0 / 0.75)]
    assert (y == 0.0).mean() == pytest.approx(0.25, abs=0.02)


def test_the_older_form_of_a_key_draws_the_same():
    x, layer = jax.numpy.ones(64), nn.Dropout(0.5)
    with keyed(jax.random.key(7)):
        expected = layer(x)
    with keyed(jax.random.PRNGKey(7)):
        np.testing.assert_array_equal(layer(x), expected)


def test_attention_drops_the_same_weights_when_somebody_looks_at_them():
    x = jax.numpy.asarray(np.random.default_rng(0).standard_normal((2, 5, 8)), np.float32)
    attention = nn.MultiHeadAttention(8, 2, dropout=0.5)
    bound = attention.bind({name: jax.numpy.asarray(p.data) for name, p in attention.named_parameters()})

    def run():
        with keyed(jax.random.key(0)):
            return bound(x)[0]

    plain = run()
    with nn.intervene(bound, {"weights": lambda weights: weights * 1.0}):
        np.testing.assert_allclose(run(), plain, atol=1e-6)


def test_dropout_without_a_key_is_refused_and_evaluation_needs_none():
    x, layer = jax.numpy.ones(3), nn.Dropout(0.5)
    with pytest.raises(
        InputError, match=r"arrays of jax takes its numbers from a key that is given: .*jax.keyed\(key\)"
    ):
        jax.jit(layer)(x)
    np.testing.assert_array_equal(layer.eval()(x), x)


def test_a_key_that_would_be_a_constant_of_what_is_compiled_is_refused():
    with (
        keyed(jax.random.key(0)),
        pytest.raises(InputError, match="must be an argument of the function that is compiled"),
    ):
        jax.jit(nn.Dropout(0.5))(jax.numpy.ones(3))


def test_without_compiling_a_gradient_takes_a_key_from_outside():
    with keyed(jax.random.key(0)):
        slope = jax.grad(lambda x: nn.Dropout(0.5)(x).sum())(jax.numpy.ones(64))
    assert set(np.asarray(slope).tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("given", [3, (1, 2), np.zeros(2, np.uint32), "key"])
def test_what_is_no_key_of_jax_is_refused(given):
    with pytest.raises(InputError, match=r"^keyed takes a key of JAX such as jax.random.key\(0\), got "):
        keyed(given)


def test_the_keys_of_a_block_end_with_it():
    with keyed(jax.random.key(0)):
        pass
    with pytest.raises(InputError, match="from a key that is given"):
        nn.Dropout(0.5)(jax.numpy.ones(3))


def test_an_op_takes_whole_numbers_as_a_key_and_drops_what_it_drops_in_numpy():
    np.testing.assert_array_equal(
        ops.dropout(jax.numpy.asarray(ONES), p=0.5, key=(3, 4)), ops.dropout(ONES, p=0.5, key=(3, 4))
    )


# Recomputation


def compiled_gradients(recompute):
    """Return the gradients of a small model with dropout, and the program that computes them."""
    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=2, max_seq_len=6, dropout=0.3)
    params = {name: parameter.data for name, parameter in model.named_parameters()}
    set_recompute(model, recompute)

    def loss(params, key):
        with keyed(key):
            return jax.numpy.square(model.bind(params)(np.array([[1, 2, 3, 4]]))).sum()

    traced = jax.jit(jax.grad(loss)).trace(params, jax.random.key(0))
    return traced.lower().compile()(params, jax.random.key(0)), str(traced.jaxpr)


def test_recomputed_layers_are_computed_again_by_jax_and_drop_the_same_elements():
    (kept, plain), (again, recomputing) = compiled_gradients(False), compiled_gradients(True)
    assert (plain.count("remat"), recomputing.count("remat")) == (0, 2)
    for name in kept:
        np.testing.assert_allclose(again[name], kept[name], rtol=1e-5, atol=1e-5)
