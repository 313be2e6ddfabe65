import importlib
import itertools

import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.testing import check_gradients

module = importlib.import_module("numformer.ops.attention")  # the op of that name hides the module
B, H, T, S, K = 5, 4, 10, 7, 3


def draw(seed=0, B=B, H=H, G=None, T=T, S=S, K=K, dtype=np.float64):
    rng, G = np.random.default_rng(seed), G or H
    return [rng.standard_normal(shape).astype(dtype) for shape in ((B, H, T, K), (B, G, S, K), (B, G, S, K))]


def plain(q, k, v, mask=None, causal=False, bias=0.0, scale=None, soft_cap=None):
    """Attention as the formula says it, every score at once; returns output and weights."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat(groups, axis=1), v.repeat(groups, axis=1)
    scores = q @ k.swapaxes(-1, -2) * (1.0 / np.sqrt(q.shape[-1]) if scale is None else scale)
    scores = bias + (scores if soft_cap is None else soft_cap * np.tanh(scores / soft_cap))
    allowed = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    if causal:
        allowed = allowed & np.tri(*scores.shape[-2:], scores.shape[-1] - scores.shape[-2], dtype=bool)
    scores = np.where(allowed, scores, -1e300)
    weights = np.where(allowed, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0.0)
    weights /= np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)
    return weights @ v, weights


def pull(arrays, mask=None, *, seed=9, **settings):
    """Return output and gradients for a random upstream gradient."""
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    out = ops.attention(*leaves, mask, **settings)
    dout = np.random.default_rng(seed).standard_normal(out.shape).astype(out.dtype)
    return [out.data, *gradients(out, leaves, dout)]


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut T=10 into three blocks of queries and B=5 into three groups of sequences."""
    monkeypatch.setattr(module, "QUERY_BLOCK", 4)
    monkeypatch.setattr(module, "BLOCK", H * S * 4)
    blocks = list(module._cut(B, H, T, S, False))
    assert [b.queries for b in blocks[:3]] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert len({(b.batch.start, b.batch.stop) for b in blocks}) == 3


MASK_SHAPES = [
    tuple(n if keep else 1 for n, keep in zip((B, H, T, S), bits, strict=True))
    for bits in itertools.product((0, 1), repeat=4)
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
def test_a_mask_of_every_broadcast_shape_follows_the_formula(shape, causal):
    arrays, mask = draw(), np.random.default_rng(1).random(shape) < 0.7
    np.testing.assert_allclose(ops.attention(*arrays, mask, causal=causal), plain(*arrays, mask, causal)[0], atol=1e-13)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [None, *MASK_SHAPES], ids=str)
@pytest.mark.parametrize("kv_heads", [1, 2, H])
def test_blocks_change_nothing(shape, causal, kv_heads, request):
    arrays = draw(G=kv_heads)
    mask = None if shape is None else np.random.default_rng(1).random(shape) < 0.7
    whole = pull(arrays, mask, causal=causal)
    request.getfixturevalue("small_blocks")
    for a, b in zip(whole, pull(arrays, mask, causal=causal), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


@pytest.mark.parametrize("kv_heads", [1, 2, H])
def test_query_head_h_reads_key_value_head_h_over_group_size(kv_heads):
    arrays = draw(G=kv_heads)
    np.testing.assert_allclose(ops.attention(*arrays), plain(*arrays)[0], atol=1e-13)


@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (3, 7), (7, 3), (1, 5)])
def test_causal_lines_the_last_query_up_with_the_last_key(queries, keys):
    arrays = draw(T=queries, S=keys)
    np.testing.assert_allclose(ops.attention(*arrays, causal=True), plain(*arrays, causal=True)[0], atol=1e-13)


@pytest.mark.parametrize("length", [9, 300])
def test_what_comes_later_changes_no_earlier_bit(length):
    q, k, v = draw(B=2, T=length, S=length, dtype=np.float32)
    t = length // 2
    before = ops.attention(q, k, v, causal=True)
    for array in (q, k, v):
        array[:, :, t] += 1.0
    after = ops.attention(q, k, v, causal=True)
    np.testing.assert_array_equal(before[:, :, :t], after[:, :, :t])
    assert (before[:, :, t] != after[:, :, t]).any()


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_past_the_query_block_agree_with_differences(dropout, kv_heads):
    T = module.QUERY_BLOCK + 5
    q, k, v = draw(B=2, H=2, G=kv_heads, T=T, S=T + 3)
    mask = np.random.default_rng(1).random((2, 1, T, T + 3)) < 0.6
    check_gradients(lambda *a: ops.attention(*a, causal=True, dropout=dropout, key=(1,)), q, k, v, mask, tolerance=2e-6)


@pytest.mark.usefixtures("small_blocks")
def test_blocks_draw_the_same_dropout_forward_and_backward():
    check_gradients(lambda *a: ops.attention(*a, dropout=0.4, key=(3,)), *draw(G=2))


@pytest.mark.usefixtures("small_blocks")
def test_no_two_blocks_share_a_dropout_mask():
    q, k, v = draw(B=4, T=8, S=40)
    q[:], k[:], v[:] = q[:1, :, :1], k[:1], v[:1]  # every query is the same, so equal outputs mean equal masks
    out = ops.attention(q, k, v, dropout=0.5, key=(1,)).reshape(-1, K)
    assert len(np.unique(out.round(9), axis=0)) > 0.9 * len(out)


def test_dropout_keeps_the_expected_output():
    q, k, v = draw(B=50, T=40, S=20)
    out = ops.attention(q, k, np.ones_like(v), dropout=0.3, key=(1,))
    assert out.mean() == pytest.approx(1.0, abs=0.02)
    assert out.std() > 0.05


def test_two_calls_before_two_backwards_keep_their_own_dropout():
    arrays = draw()
    alone = [pull(arrays, dropout=0.5, key=(key,)) for key in (1, 2)]
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    outs = [ops.attention(*leaves, dropout=0.5, key=(key,)) for key in (1, 2)]
    dout = np.random.default_rng(9).standard_normal(outs[0].shape)
    for out, (value, *expected) in zip(outs, alone, strict=True):
        np.testing.assert_array_equal(out.data, value)
        for a, b in zip(gradients(out, leaves, dout), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_query_that_sees_nothing_gets_zeros_and_passes_no_gradient(dtype):
    mask = np.ones((1, 1, T, S), bool)
    mask[..., 4, :] = False
    out, dq, dk, dv = pull(draw(dtype=dtype), mask)
    assert not out[:, :, 4].any()
    assert not dq[:, :, 4].any()
    assert all(np.isfinite(grad).all() for grad in (dq, dk, dv))


def test_a_mask_without_any_true_gives_zeros_everywhere():
    for array in pull(draw(dtype=np.float32), np.zeros((1, 1, 1, 1), bool)):
        assert not array.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [100.0, 1000.0])
def test_scores_of_ten_thousand_and_more_stay_finite_and_right(dtype, size):
    q, k, v = (size * a if i < 2 else a for i, a in enumerate(draw(dtype=dtype, K=4)))
    assert abs(q @ k.swapaxes(-1, -2)).max() > 1e4
    out, *grads = pull((q, k, v))
    np.testing.assert_allclose(out, plain(*(a.astype(np.float64) for a in (q, k, v)))[0], atol=0.02)
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("garbage", [1.0, 1e30])
def test_padding_never_changes_the_result(garbage):
    q, k, v = draw(B=1)
    alone = pull((q, k, v))
    padding = np.full((1, H, 3, K), garbage)
    mask = np.arange(S + 3)[None, None, None, :] < S
    out, dq, dk, dv = pull((q, np.concatenate([k, padding], 2), np.concatenate([v, padding], 2)), mask)
    for ours, expected in zip((out, dq, dk[:, :, :S], dv[:, :, :S]), alone, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-13)
    assert not dk[:, :, S:].any()
    assert not dv[:, :, S:].any()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [T, 200])
def test_returned_weights_are_those_of_the_formula(length, causal):
    arrays = draw(B=2, G=2, T=length, S=length)
    out, weights = ops.attention(*arrays, causal=causal, return_weights=True)
    expected_out, expected_weights = plain(*arrays, causal=causal)
    np.testing.assert_allclose(out, expected_out, atol=1e-13)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-13)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0)


@pytest.mark.parametrize("blocked", [False, True])
def test_returned_weights_are_differentiable(blocked, request):
    if blocked:
        request.getfixturevalue("small_blocks")
    q, k, v = draw(G=2, S=T)
    mask = np.random.default_rng(1).random((B, 1, T, T)) < 0.7
    settings = {"causal": True, "return_weights": True, "dropout": 0.3, "key": (1,)}
    check_gradients(lambda *a: ops.attention(*a, **settings), q, k, v, mask)
    check_gradients(lambda *a: ops.attention(*a, **settings)[1], q, k, v, mask)


# An additive bias, a window, a scale


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
def test_a_bias_of_every_broadcast_shape_follows_the_formula_with_its_gradient(shape, causal, blocked, request):
    if blocked:
        request.getfixturevalue("small_blocks")
    q, k, v = draw(G=2)
    bias = 2.0 * np.random.default_rng(3).standard_normal(shape)
    mask = np.random.default_rng(1).random((B, 1, T, S)) < 0.7
    found = ops.attention(q, k, v, mask, bias, causal=causal)
    np.testing.assert_allclose(found, plain(q, k, v, mask, causal, bias)[0], atol=1e-12)
    check_gradients(lambda *a: ops.attention(*a, causal=causal), q, k, v, mask, bias, tolerance=2e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_bias_past_the_query_block(dropout):
    T = module.QUERY_BLOCK + 5
    q, k, v = draw(B=2, H=2, G=1, T=T, S=T)
    bias = np.random.default_rng(3).standard_normal((1, 2, T, T))
    settings = {"causal": True, "dropout": dropout, "key": (1,)}
    check_gradients(lambda *a: ops.attention(a[0], a[1], a[2], None, a[3], **settings), q, k, v, bias, tolerance=2e-6)


def test_a_bias_of_minus_infinity_hides_like_a_mask():
    arrays = draw()
    mask = np.random.default_rng(1).random((B, H, T, S)) < 0.6
    mask[0, 0, 3] = False  # a query that sees nothing
    leaves = [Tensor(a, requires_grad=True) for a in (*arrays, np.where(mask, 0.0, -np.inf))]
    out = ops.attention(*leaves[:3], None, leaves[3])
    dout = np.random.default_rng(9).standard_normal(out.shape)
    for ours, expected in zip([out.data, *gradients(out, leaves, dout)], pull(arrays, mask), strict=False):
        np.testing.assert_allclose(ours, expected, atol=1e-13)
    (dbias,) = gradients(ops.attention(*arrays, None, leaves[3]), leaves[3:], dout)
    assert not dbias[~mask].any()
    assert dbias[mask].any()


def test_the_gradient_of_a_bias_passes_nothing_where_the_mask_hides():
    mask = np.random.default_rng(1).random((B, 1, T, S)) < 0.6
    bias = Tensor(np.random.default_rng(3).standard_normal((B, H, T, S)), requires_grad=True)
    (dbias,) = gradients(ops.attention(*draw(), mask, bias), [bias], np.ones((B, H, T, K)))
    assert not dbias[np.broadcast_to(~mask, bias.shape)].any()
    np.testing.assert_allclose(dbias.sum(axis=-1), 0.0, atol=1e-13)  # a constant added to a row changes nothing


def test_a_bias_keeps_the_dtype_of_the_queries_and_gets_a_gradient_of_its_own_dtype():
    arrays = draw(dtype=np.float32)
    bias = Tensor(np.ones((1, H, 1, S)), requires_grad=True)
    out = ops.attention(*arrays, None, bias)
    assert out.dtype == np.float32
    (dbias,) = gradients(out, [bias], out.data)
    assert (dbias.dtype, dbias.shape) == (np.float64, bias.shape)


def test_a_bias_that_wants_no_gradient_gets_none():
    leaves = [Tensor(a, requires_grad=True) for a in draw()]
    out = ops.attention(*leaves, None, np.ones((1, 1, T, S)))
    assert out.edge[0].vjp(np.ones(out.shape))[4] is None


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3, 6, 7, 50])
@pytest.mark.parametrize(("queries", "keys"), [(10, 10), (10, 7), (3, 7)])
def test_a_window_is_a_mask_of_the_last_keys(queries, keys, window, blocked, request):
    if blocked:
        request.getfixturevalue("small_blocks")
    arrays = draw(G=2, T=queries, S=keys)
    last = np.arange(queries)[:, None] + keys - queries
    seen = np.arange(keys)[None]
    mask = ((seen <= last) & (seen > last - window))[None, None]
    for ours, expected in zip(pull(arrays, causal=True, window=window), pull(arrays, mask), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-13)
    np.testing.assert_allclose(ops.attention(*arrays, causal=True, window=window), plain(*arrays, mask)[0], atol=1e-13)


@pytest.mark.parametrize("length", [1, 300])
def test_keys_before_the_window_of_every_query_of_a_block_are_not_read(length):
    q, k, v = draw(B=1, H=2, T=length, S=300)
    expected = ops.attention(q, k, v, causal=True, window=4)[:, :, -1]
    k[:, :, :100] = v[:, :, :100] = np.nan
    np.testing.assert_array_equal(ops.attention(q, k, v, causal=True, window=4)[:, :, -1], expected)


def test_memory_of_a_window_grows_with_the_window(measure_bytes):
    q, k, v = (Tensor(a, requires_grad=True) for a in draw(B=1, H=4, T=4096, S=4096, K=8, dtype=np.float32))
    _, _, whole = measure_bytes(lambda: ops.attention(q, k, v, causal=True))
    module._causal_bias.cache_clear()
    out, _, peak = measure_bytes(lambda: ops.attention(q, k, v, causal=True, window=16))
    assert peak < whole / 3
    _, _, peak = measure_bytes(lambda: gradients(out, [q, k, v], out.data))
    assert peak < whole


def test_a_window_past_the_query_block():
    length = module.QUERY_BLOCK + 40
    arrays = draw(B=1, H=2, T=length, S=length)
    mask = np.tri(length, dtype=bool) & ~np.tri(length, length, -9, dtype=bool)
    for ours, expected in zip(pull(arrays, causal=True, window=9), pull(arrays, mask[None, None]), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-13)


@pytest.mark.parametrize(("window", "causal"), [(0, True), (-1, True), (3, False)])
def test_a_window_needs_causal_order_and_a_length(window, causal):
    with pytest.raises(InputError, match=rf"a window must be at least 1 and needs causal=True, got {window}"):
        ops.attention(*draw(), causal=causal, window=window)


@pytest.mark.parametrize("scale", [0.0, 0.25, 1.0, -2.0])
def test_a_scale_takes_the_place_of_one_over_the_root_of_the_width(scale):
    arrays = draw(G=2)
    np.testing.assert_allclose(ops.attention(*arrays, scale=scale), plain(*arrays, scale=scale)[0], atol=1e-12)
    check_gradients(lambda *a: ops.attention(*a, scale=scale), *arrays)


def test_without_a_scale_it_is_one_over_the_root_of_the_width():
    arrays = draw()
    for ours, expected in zip(pull(arrays), pull(arrays, scale=1.0 / np.sqrt(K)), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_a_soft_cap_bends_the_scores_before_anything_is_added(causal, blocked, request):
    if blocked:
        request.getfixturevalue("small_blocks")
    q, k, v = draw(G=2)
    bias = 5.0 * np.random.default_rng(3).standard_normal((1, H, T, S))
    mask = np.random.default_rng(1).random((B, 1, T, S)) < 0.7
    settings = {"causal": causal, "scale": 1.5, "soft_cap": 0.8}
    expected = plain(q, k, v, mask, causal, bias, scale=1.5, soft_cap=0.8)[0]
    np.testing.assert_allclose(ops.attention(q, k, v, mask, bias, **settings), expected, atol=1e-12)
    check_gradients(lambda *a: ops.attention(*a, **settings), q, k, v, mask, bias, tolerance=2e-6)


def test_a_soft_cap_past_the_query_block_and_with_dropout_and_weights():
    T = module.QUERY_BLOCK + 5
    settings = {"causal": True, "dropout": 0.3, "key": (1,), "soft_cap": 0.5}
    check_gradients(lambda *a: ops.attention(*a, **settings), *draw(B=2, H=2, G=1, T=T, S=T), tolerance=2e-6)
    check_gradients(lambda *a: ops.attention(*a, return_weights=True, **settings)[1], *draw(B=2, H=2, G=1))


def test_a_soft_cap_far_above_the_scores_changes_nothing():
    arrays = draw()
    for ours, expected in zip(pull(arrays, soft_cap=1e9), pull(arrays), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize("cap", [0.0, -2.0])
def test_a_cap_on_scores_is_above_0(cap):
    with pytest.raises(InputError, match=f"a soft cap must be above 0, got {cap}"):
        ops.attention(*draw(), soft_cap=cap)


@pytest.mark.parametrize("causal", [False, True])
def test_memory_does_not_grow_with_the_square_of_the_length(causal, measure_bytes):
    length = 2048
    q, k, v = (Tensor(a, requires_grad=True) for a in draw(B=1, H=1, T=length, S=length, K=8, dtype=np.float32))
    out, kept, peak = measure_bytes(lambda: ops.attention(q, k, v, causal=causal))
    square = 4 * length * length
    assert kept < square / 10
    assert peak < square / 2
    _, _, peak = measure_bytes(lambda: gradients(out, [q, k, v], out.data))
    assert peak < square / 2


def test_groups_must_divide_the_heads():
    with pytest.raises(InputError, match="3 query heads cannot share 2 key/value heads"):
        ops.attention(*draw(H=3, G=2))


def test_split_heads_gives_each_head_neighbouring_columns():
    x = np.arange(2 * 3 * 8.0).reshape(2, 3, 8)
    np.testing.assert_array_equal(ops.split_heads(x, num_heads=4)[:, 1], x[:, :, 2:4])
    np.testing.assert_array_equal(ops.merge_heads(ops.split_heads(x, num_heads=4)), x)


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 4), (1, 1, 3, 4)), ((2, 3, 4), (2, 1, 3, 4)), ((2, 5, 3, 4), (2, 5, 3, 4))]
)
@pytest.mark.parametrize("dtype", [bool, int, np.float32])
def test_masks_come_as_two_three_or_four_axes_of_zeros_and_ones(shape, expected, dtype):
    mask = np.random.default_rng(0).random(shape) < 0.5
    for given in (mask.astype(dtype), Tensor(mask.astype(dtype))):
        converted = ops.as_mask(given)
        assert converted.dtype == bool
        np.testing.assert_array_equal(converted, mask.reshape(expected))


@pytest.mark.parametrize(
    "mask", [np.array([[0.0, -1e9]]), np.full((2, 2), 2), np.ones(3, bool), np.ones((1,) * 5, bool)]
)
def test_other_masks_are_refused(mask):
    with pytest.raises(InputError, match="an attention mask"):
        ops.as_mask(mask)


def test_mask_makers_say_true_where_to_attend():
    np.testing.assert_array_equal(ops.causal_mask(2), [[True, False], [True, True]])
    np.testing.assert_array_equal(ops.padding_mask([[7, 7, 0]], 0), [[[[True, True, False]]]])


@pytest.mark.parametrize("settings", [{}, {"causal": True}, {"scale": 0.4}, {"causal": True, "window": S}])
def test_a_lone_query_without_gradients_is_answered_as_with_them(settings):
    q, k, v = draw(H=6, G=2, T=1)
    expected = plain(q, k, v, scale=settings.get("scale"))[0]
    np.testing.assert_allclose(ops.attention(q, k, v, **settings), expected, rtol=1e-12)
    np.testing.assert_allclose(pull((q, k, v), **settings)[0], expected, rtol=1e-12)


def test_a_lone_query_with_a_window_sees_its_window_alone():
    q, k, v = draw(T=1)
    expected = plain(q, k[:, :, -3:], v[:, :, -3:])[0]
    np.testing.assert_allclose(ops.attention(q, k, v, causal=True, window=3), expected, rtol=1e-12)


def test_a_lone_query_of_large_scores_keeps_its_dtype():
    q, k, v = draw(T=1, dtype=np.float32)
    out = ops.attention(q * 1e4, k, v)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
