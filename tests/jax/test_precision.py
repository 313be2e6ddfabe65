"""Sums over many numbers are made in float32 where a model computes in bfloat16."""

import numpy as np
import pytest

from numformer import ops

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

jnp = jax.numpy
NUM = 4096  # places that one row is used at


@pytest.mark.parametrize(
    "use",
    [
        lambda row: ops.embedding(np.zeros((1, NUM), np.int32), row[None]),
        lambda row: ops.embedding_bag(np.zeros((1, NUM, 1), np.int32), row[None]),
        lambda row: ops.linear(jnp.zeros((1, NUM, 3), row.dtype), jnp.zeros((4, 3), row.dtype), row),
        lambda row: ops.add(jnp.zeros((1, NUM, 4), row.dtype), row),
    ],
    ids=["embedding", "embedding_bag", "linear", "add"],
)
def test_the_gradient_of_what_is_used_often_is_whole(use):
    row = jnp.ones(4, jnp.bfloat16)
    arriving = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (1, NUM, 4)), jnp.bfloat16)

    @jax.jit
    def differentiated(row):
        value, pullback = jax.vjp(use, row)
        return value, pullback(arriving)[0]

    value, gradient = differentiated(row)
    assert value.dtype == gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(np.float32), arriving.astype(np.float32).sum((0, 1)), rtol=0.01)


def test_the_softmax_of_attention_is_no_less_exact_where_dropout_is_to_act_on_it():
    draw = np.random.default_rng(0)
    q, k, v = (jnp.asarray(draw.standard_normal((1, 2, 256, 16)), jnp.bfloat16) for _ in range(3))
    exact = ops.attention(*(x.astype(jnp.float32) for x in (2 * q, k, v)), causal=True)
    plain = ops.attention(2 * q, k, v, causal=True)
    own, weights = ops.attention(2 * q, k, v, causal=True, return_weights=True)
    assert own.dtype == weights.dtype == jnp.bfloat16
    assert jnp.abs(own - exact).mean() < 1.2 * jnp.abs(plain - exact).mean()
