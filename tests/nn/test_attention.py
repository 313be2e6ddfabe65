import numpy as np
import pytest

from numformer import InputError, nn
from numformer.testing import check_gradients

D = 8


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_output_and_weights_come_together(randomise):
    attention = randomise(nn.MultiHeadAttention(D, 2))
    query, memory, mask = draw(2, 3, D), draw(2, 5, D, seed=1), np.random.default_rng(2).random((2, 3, 5)) < 0.7
    mask[..., 0] = True
    output, weights = attention(query, memory, memory, mask)
    assert output.shape == (2, 3, D)
    assert weights.shape == (2, 2, 3, 5)
    np.testing.assert_allclose(weights.data.sum(axis=-1), 1.0)
    assert not weights.data[~np.broadcast_to(mask[:, None], weights.shape)].any()
    np.testing.assert_allclose(attention(query, memory, memory, mask)[0].data, output.data)


def test_the_layer_is_projections_around_softmax(randomise):
    attention, x = randomise(nn.MultiHeadAttention(D, 2)), draw(1, 4, D)
    output, weights = attention(x)
    heads = []
    for h in range(2):
        columns = slice(4 * h, 4 * h + 4)
        q, k, v = (
            x[0] @ layer.weight.data[columns].T + layer.bias.data[columns]
            for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        e = np.exp(q @ k.T / 2.0)
        e /= e.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(weights.data[0, h], e)
        heads.append(e @ v)
    expected = np.concatenate(heads, axis=-1) @ attention.out_proj.weight.data.T + attention.out_proj.bias.data
    np.testing.assert_allclose(output.data[0], expected)


def test_key_and_value_default_to_the_query_and_value_to_the_key(randomise):
    attention, x, memory = randomise(nn.MultiHeadAttention(D, 2)), draw(2, 3, D), draw(2, 5, D, seed=1)
    np.testing.assert_array_equal(attention(x)[0].data, attention(x, x, x)[0].data)
    np.testing.assert_array_equal(attention(x, memory)[0].data, attention(x, memory, memory)[0].data)


def test_gradients_of_query_key_value_and_weights(randomise):
    attention = randomise(nn.MultiHeadAttention(D, 4, num_kv_heads=2))
    mask = np.random.default_rng(2).random((2, 3, 5)) < 0.7
    inputs = draw(2, 3, D), draw(2, 5, D, seed=1), draw(2, 5, D, seed=2)
    parameters = list(attention.parameters())
    check_gradients(lambda *a: attention(*a, mask), *inputs, parameters=parameters)


def test_backward_returns_one_gradient_for_each_input(randomise):
    attention = randomise(nn.MultiHeadAttention(D, 2))
    query, memory = draw(2, 3, D), draw(2, 5, D, seed=1)
    attention(query, memory, memory)
    assert [grad.shape for grad in attention.backward(draw(2, 3, D))] == [query.shape, memory.shape, memory.shape]


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (2, 1, 3, 3), (2, 2, 3, 3)], ids=str)
@pytest.mark.parametrize("dtype", [bool, int, np.float32])
def test_masks_of_zeros_and_ones_mean_the_same_as_booleans(shape, dtype):
    attention, x = nn.MultiHeadAttention(D, 2), draw(2, 3, D)
    mask = np.random.default_rng(1).random(shape) < 0.7
    np.testing.assert_array_equal(attention(x, mask=mask.astype(dtype))[0].data, attention(x, mask=mask)[0].data)


def test_causal_is_the_triangular_mask():
    attention, x = nn.MultiHeadAttention(D, 2), draw(2, 5, D)
    np.testing.assert_allclose(attention(x, causal=True)[0].data, attention(x, mask=np.tri(5))[0].data, atol=1e-7)


def test_an_additive_mask_is_refused():
    with pytest.raises(InputError, match="True \\(or 1\\) where a query may attend"):
        nn.MultiHeadAttention(D, 2)(draw(1, 3, D), mask=np.where(np.tri(3), 0.0, -1e9))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "message"),
    [
        (3, None, "num_heads=3 does not divide d_model=8"),
        (0, None, "num_heads=0 does not divide d_model=8"),
        (4, 3, "num_kv_heads=3 does not divide num_heads=4"),
    ],
)
def test_heads_must_divide_the_width_and_groups_the_heads(heads, kv_heads, message):
    with pytest.raises(InputError, match=message):
        nn.MultiHeadAttention(D, heads, num_kv_heads=kv_heads)
