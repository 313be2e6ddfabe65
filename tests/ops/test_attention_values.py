import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops

SETTINGS = [{}, {"causal": True}, {"dropout": 0.4, "key": (3,)}, {"causal": True, "dropout": 0.4, "key": (3,)}]
SETTINGS.append({"causal": True, "window": 3, "dropout": 0.4, "key": (3,)})


def draw(T):
    rng = np.random.default_rng(0)
    return [Tensor(rng.standard_normal((2, h, T, 3)), requires_grad=True) for h in (4, 2, 2)]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("T", [5, 150])
def test_weights_and_values_make_what_attention_makes_of_them(settings, T):
    q, k, v = draw(T)
    heads, weights = ops.attention(q, k, v, return_weights=True, **settings)
    again = ops.attention_values(weights, v, **settings)
    np.testing.assert_allclose(again.data, heads.data, atol=1e-12)
    dy = np.random.default_rng(1).standard_normal(heads.shape)
    expected = gradients(ops.attention(q, k, v, **settings), [q, k, v], dy)
    for ours, theirs in zip(gradients(again, [q, k, v], dy), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_what_was_computed_is_taken_over_for_the_same_weights_only():
    q, k, v = draw(5)
    computed = heads, weights = ops.attention(q, k, v, return_weights=True)
    assert ops.attention_values(weights, v, computed=computed).data is heads.data
    other = Tensor(np.full(weights.shape, 0.2))
    expected = np.broadcast_to(v.data.mean(axis=2, keepdims=True).repeat(2, axis=1), heads.shape)
    np.testing.assert_allclose(ops.attention_values(other, v, computed=computed).data, expected)


def test_heads_that_do_not_share_values_evenly_are_an_error():
    with pytest.raises(InputError, match="4 heads of weights cannot share 3 heads of values evenly"):
        ops.attention_values(np.ones((1, 4, 2, 2)), np.ones((1, 3, 2, 5)))
