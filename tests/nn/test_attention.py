import numpy as np
import pytest

from numformer import InputError, nn, ops
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


def test_weights_are_computed_only_where_they_are_wanted(randomise):
    attention, x = randomise(nn.MultiHeadAttention(D, 2)), draw(2, 4, D)
    output, weights = attention(x, need_weights=False)
    assert weights is None
    np.testing.assert_array_equal(output.data, attention(x)[0].data)


# Bias, scale, window


def test_a_bias_is_added_to_the_scores_and_has_a_gradient(randomise):
    attention, x, bias = randomise(nn.MultiHeadAttention(D, 2)), draw(2, 4, D), draw(1, 2, 4, 4, seed=1)
    hidden = np.where(np.tri(4, dtype=bool), 0.0, -1e9)[None, None]
    np.testing.assert_allclose(attention(x, bias=hidden)[0].data, attention(x, causal=True)[0].data, atol=1e-9)
    check_gradients(lambda x, bias: attention(x, bias=bias), x, bias)


def test_the_scale_takes_the_place_of_the_root_of_the_width(randomise):
    plain, x = randomise(nn.MultiHeadAttention(D, 2)), draw(1, 4, D)
    sharp = randomise(nn.MultiHeadAttention(D, 2, scale=1.0))
    plain.q_proj.weight.data, plain.q_proj.bias.data = 2.0 * plain.q_proj.weight.data, 2.0 * plain.q_proj.bias.data
    np.testing.assert_allclose(sharp(x)[1].data, plain(x)[1].data, atol=1e-12)  # 1 is twice 1/√4


def test_a_window_hides_what_lies_too_far_before(randomise):
    attention, x = randomise(nn.MultiHeadAttention(D, 2, window=2)), draw(1, 5, D)
    weights = attention(x, causal=True)[1].data
    seen = np.tri(5, dtype=bool) & ~np.tri(5, k=-2, dtype=bool)
    assert (weights[..., seen] > 0.0).all()
    assert not weights[..., ~seen].any()


def test_a_soft_cap_bounds_the_scores(randomise):
    plain, capped = (randomise(nn.MultiHeadAttention(D, 2, soft_cap=cap)) for cap in (None, 0.5))
    x = draw(1, 4, D)
    scores = np.log(plain(x)[1].data)  # up to a constant for every query, which is their mean then
    assert abs(scores - scores.mean(-1, keepdims=True)).max() > 1.0
    bent = np.log(capped(x)[1].data)
    assert abs(bent - bent.mean(-1, keepdims=True)).max() < 1.0


@pytest.mark.parametrize(
    ("bias", "out_bias", "found"), [(True, None, "qkvo"), (True, False, "qkv"), (False, True, "o")]
)
def test_the_projection_back_may_have_a_bias_of_its_own_accord(bias, out_bias, found):
    attention = nn.MultiHeadAttention(D, 2, bias=bias, out_bias=out_bias)
    projections = zip("qkvo", ("q_proj", "k_proj", "v_proj", "out_proj"), strict=True)
    assert [letter for letter, name in projections if getattr(attention, name).bias is not None] == list(found)


def test_every_head_of_queries_and_keys_is_normalised_before_it_is_rotated(randomise):
    settings = {"num_kv_heads": 1, "rope_theta": 10.0}
    plain = nn.MultiHeadAttention(D, 2, **settings)
    normed = nn.MultiHeadAttention(D, 2, **settings, q_norm=nn.RMSNorm(4), k_norm=nn.RMSNorm(4))
    randomise(normed)
    plain = plain.astype(np.float64)
    plain.load_state_dict({name: normed.state_dict()[name] for name in plain.state_dict()})
    x = draw(1, 5, D)
    q, k, v = normed._queries_keys_values(x, x, x, None)
    flat_q, flat_k, flat_v = plain._queries_keys_values(x, x, x, np.zeros(5, int))
    for found, flat, norm in ((q, flat_q, normed.q_norm), (k, flat_k, normed.k_norm)):
        expected = flat.data / np.sqrt((flat.data**2).mean(-1, keepdims=True) + 1e-6) * norm.weight.data
        np.testing.assert_allclose(found.data, ops.rope(expected, np.arange(5), theta=10.0), atol=1e-12)
    np.testing.assert_array_equal(v.data, flat_v.data)
    check_gradients(lambda x: normed(x)[0], x, parameters=list(normed.parameters()), tolerance=1e-5)


# Rotary positions


class Everything:
    """A cache of one attention that holds what it is given."""

    is_filled = False

    def __init__(self):
        self.kept = None

    def update(self, k, v):
        new = [x.data for x in (k, v)]
        self.kept = new if self.kept is None else [np.concatenate(pair, axis=2) for pair in zip(self.kept, new)]  # noqa: B905
        return self.kept


def test_rotary_positions_tell_order_and_only_distance_counts(randomise):
    attention, x = randomise(nn.MultiHeadAttention(D, 2, rope_theta=100.0)), draw(1, 4, D)
    assert abs(attention(x[:, ::-1])[0].data[:, ::-1] - attention(x)[0].data).max() > 1e-3
    for positions in (np.arange(4) + 7, np.arange(4)[None] + 7):
        np.testing.assert_allclose(attention(x, positions=positions)[0].data, attention(x)[0].data, atol=1e-9)
    assert abs(attention(x, positions=2 * np.arange(4))[0].data - attention(x)[0].data).max() > 1e-3


def test_keys_are_rotated_before_a_cache_takes_them(randomise):
    attention, x = randomise(nn.MultiHeadAttention(D, 4, num_kv_heads=2, rope_theta=100.0)), draw(2, 6, D)
    expected, cache = attention(x, causal=True)[0].data, Everything()
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        found, _ = attention(x[:, start:stop], causal=True, cache=cache, positions=np.arange(start, stop))
        np.testing.assert_allclose(found.data, expected[:, start:stop], atol=1e-9)
    assert cache.kept[0].shape == (2, 2, 6, 2)


def test_a_filled_cache_needs_no_keys(randomise):
    attention, x, memory = randomise(nn.MultiHeadAttention(D, 2)), draw(2, 3, D), draw(2, 5, D, seed=1)
    cache = Everything()
    expected, _ = attention(x, memory, cache=cache)
    cache.is_filled, cache.update = True, lambda k, v: cache.kept if k is v is None else pytest.fail("computed again")
    np.testing.assert_array_equal(attention(x, None, cache=cache)[0].data, expected.data)


# One product for queries, keys and values


@pytest.mark.parametrize("bias", [True, False])
def test_fused_attention_is_attention_with_its_weights_laid_together(bias, randomise):
    fused, plain = randomise(nn.FusedAttention(D, 2, bias=bias)), nn.MultiHeadAttention(D, 2, bias=bias)
    state = {f"out_proj.{name}": p.data for name, p in fused.out_proj.named_parameters()}
    for name, parameter in fused.in_proj.named_parameters():
        for part, values in zip("qkv", np.split(parameter.data, 3), strict=True):
            state[f"{part}_proj.{name}"] = values
    plain = plain.astype(np.float64)
    plain.load_state_dict(state)
    query, key, value = draw(2, 3, D), draw(2, 5, D, seed=1), draw(2, 5, D, seed=2)
    for given in ((query,), (query, query, query), (query, key), (query, key, value)):
        for found, expected in zip(fused(*given), plain(*given), strict=True):
            np.testing.assert_allclose(found.data, expected.data, atol=1e-9)


def test_heads_may_be_wider_than_their_share_of_the_width():
    attention = nn.MultiHeadAttention(D, 3, num_kv_heads=1, head_dim=4)
    assert attention.q_proj.weight.shape == (12, D)
    assert attention.k_proj.weight.shape == (4, D)
    assert attention(draw(1, 2, D))[0].shape == (1, 2, D)
