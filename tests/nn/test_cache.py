import numpy as np
import pytest

from numformer import InputError
from numformer.autograd import Tensor
from numformer.nn import MultiHeadAttention
from numformer.nn.cache import BLOCK, EncoderDecoderCache, KVCache


def draw(*shape, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)


def fill(cache, k, v):
    """Store the same keys and values in every layer, as a forward pass does, and return what each gave back."""
    found = [cache.layer(number).update(k, v) for number in range(2)]
    cache.advance(k.shape[2])
    return found


def test_updates_continue_each_other():
    cache, (k, v) = KVCache(2, 3, 16), draw(3, 2, 7, 4)
    for start, stop in ((0, 4), (4, 5), (5, 7)):
        positions, mask = cache.positions_and_mask(stop - start)
        np.testing.assert_array_equal(positions, np.broadcast_to(np.arange(start, stop), (3, stop - start)))
        assert mask is None
        for keys, values in fill(cache, k[:, :, start:stop], Tensor(v[:, :, start:stop])):
            np.testing.assert_array_equal(keys, k[:, :, :stop])
            np.testing.assert_array_equal(values, v[:, :, :stop])
    assert cache.lengths.tolist() == [7, 7, 7]


@pytest.mark.parametrize("num_new", [1, 3])
def test_rows_of_unequal_length_get_positions_and_a_mask_of_their_own(num_new):
    cache, (k, v) = KVCache(2, 3, 16), draw(3, 2, 5, 4)
    fill(cache, k, v)
    cache.lengths[:] = [5, 2, 0]
    positions, mask = cache.positions_and_mask(num_new)
    new_k, new_v = draw(3, 2, num_new, 4, seed=1)
    for keys, values in fill(cache, new_k, new_v):
        assert keys.shape[2] == values.shape[2] == 5 + num_new
        for row, length in enumerate([5, 2, 0]):
            end = length + num_new
            np.testing.assert_array_equal(keys[row, :, :end], np.concatenate([k[row, :, :length], new_k[row]], 1))
            np.testing.assert_array_equal(values[row, :, :end], np.concatenate([v[row, :, :length], new_v[row]], 1))
    for row, length in enumerate([5, 2, 0]):
        for t in range(num_new):
            at = length + t
            assert positions[row, t] == at
            assert np.flatnonzero(mask[row, 0, t]).tolist() == list(range(at + 1))
    assert mask.shape == (3, 1, num_new, 5 + num_new)
    assert mask.dtype == bool


def test_a_range_of_rows_shares_their_memory():
    cache, (k, v) = KVCache(2, 5, 16), draw(2, 2, 3, 4)
    fill(cache.rows(1, 3), k, v)
    assert cache.lengths.tolist() == [0, 3, 3, 0, 0]
    fill(cache.rows(3, 4), *draw(1, 2, 2, 4, seed=1))
    (keys, values), _ = fill(cache.rows(1, 3), *draw(2, 2, 1, 4, seed=2))
    np.testing.assert_array_equal(keys[:, :, :3], k)
    np.testing.assert_array_equal(values[:, :, :3], v)
    assert cache.lengths.tolist() == [0, 4, 4, 2, 0]
    part = cache.rows(1, 5).rows(1, 3)
    assert part.lengths.tolist() == [4, 2]
    again = part.layer(0).update(*draw(2, 2, 1, 4))[0]
    assert np.shares_memory(again, keys)
    np.testing.assert_array_equal(again[0, :, :3], k[1])


def test_rows_are_copied_and_cleared():
    cache, (k, v) = KVCache(2, 4, 16), draw(2, 2, 3, 4)
    cache.copy_row(0, 1)  # of an empty cache there is nothing to copy
    fill(cache.rows(0, 2), k, v)
    cache.rows(1, 4).copy_row(0, 2)
    cache.clear_row(1)
    assert cache.lengths.tolist() == [3, 0, 0, 3]
    fill(cache.rows(0, 1), *draw(1, 2, 1, 4))  # what one of the two reads now is not the other's
    keys, values = cache.rows(3, 4).layer(1).update(*draw(1, 2, 1, 4))
    np.testing.assert_array_equal(keys[0, :, :3], k[1])
    np.testing.assert_array_equal(values[0, :, :3], v[1])


def test_memory_grows_in_blocks_and_keeps_what_rows_hold():
    cache, (k, v) = KVCache(2, 2, 4 * BLOCK - 3), draw(2, 2, 4 * BLOCK - 3, 4)
    sizes = []
    for t in range(k.shape[2]):
        for keys, values in fill(cache, k[:, :, t : t + 1], v[:, :, t : t + 1]):
            np.testing.assert_array_equal(keys, k[:, :, : t + 1])
            np.testing.assert_array_equal(values, v[:, :, : t + 1])
        sizes.append(keys.base.shape[2])
    assert sorted(set(sizes)) == [BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK - 3]
    with pytest.raises(
        InputError, match=f"a sequence of {4 * BLOCK - 2} tokens does not fit max_seq_len={4 * BLOCK - 3}"
    ):
        cache.positions_and_mask(1)


def test_fewer_key_value_heads_make_a_smaller_cache():
    def size(num_kv_heads):
        cache = KVCache(2, 3, 16)
        keys, values = fill(cache, *draw(3, num_kv_heads, 5, 4))[0]
        return keys.base.nbytes + values.base.nbytes

    assert size(8) == 4 * size(2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_the_dtype_is_that_of_the_keys(dtype):
    keys, values = fill(KVCache(2, 1, 8), *draw(1, 2, 3, 4, dtype=dtype))[0]
    assert keys.dtype == values.dtype == dtype


# Encoder-decoder


def test_keys_and_values_of_sources_are_kept_with_their_masks():
    cache, (k, v), (source_k, source_v) = EncoderDecoderCache(2, 4, 8), draw(2, 2, 1, 4), draw(2, 2, 3, 4, seed=1)
    mask = np.array([[True, True, True], [True, False, False]])
    rows = cache.rows(0, 2)
    rows.set_sources(mask)
    for number in range(2):
        layer = rows.layer(number)
        assert not layer.itself.is_filled
        assert not layer.cross.is_filled
        layer.itself.update(k, v)
        layer.cross.update(source_k, Tensor(source_v))
    rows.advance(1)
    for number in range(2):
        assert rows.layer(number).cross.is_filled
        keys, values = rows.layer(number).cross.update(None, None)
        np.testing.assert_array_equal(keys, source_k)
        np.testing.assert_array_equal(values, source_v)
    np.testing.assert_array_equal(rows.source_mask, mask)
    assert not cache.rows(2, 4).layer(0).cross.is_filled


def with_sources(cache, first, lengths, seed):
    rows, (k, v) = cache.rows(first, first + len(lengths)), draw(len(lengths), 2, max(lengths), 4, seed=seed)
    rows.set_sources(np.arange(max(lengths)) < np.array(lengths)[:, None])
    rows.layer(0).itself.update(*draw(len(lengths), 2, 1, 4))
    rows.layer(0).cross.update(k, v)
    rows.advance(1)
    return k, v


def test_sources_of_other_lengths_join_and_rows_move_with_theirs():
    cache = EncoderDecoderCache(1, 5, 8)
    first, _ = with_sources(cache, 0, [2, 1], seed=1)
    second, _ = with_sources(cache, 2, [4], seed=2)
    keys, _ = cache.rows(0, 3).layer(0).cross.update(None, None)
    np.testing.assert_array_equal(keys[:2, :, :2], first)
    np.testing.assert_array_equal(keys[2], second[0])
    expected = [[True, True, False, False], [True, False, False, False], [True] * 4]
    np.testing.assert_array_equal(cache.rows(0, 3).source_mask, expected)
    assert cache.rows(0, 2).source_mask.shape == (2, 2)
    cache.copy_row(2, 0)
    cache.copy_row(1, 3)
    np.testing.assert_array_equal(cache.rows(0, 4).source_mask, [expected[2], expected[1], expected[2], expected[1]])
    keys, _ = cache.rows(0, 4).layer(0).cross.update(None, None)
    np.testing.assert_array_equal(keys[0], second[0])
    np.testing.assert_array_equal(keys[3, :, :2], first[1])


def test_a_source_that_both_rows_have_is_not_copied():
    cache = EncoderDecoderCache(1, 3, 8)
    with_sources(cache, 0, [2, 3], seed=1)
    cache.copy_row(0, 2)
    keys = cache.rows(2, 3).layer(0).cross.update(None, None)[0]
    keys[...] = 7.0  # whoever copied again would write over this
    cache.clear_row(2)
    cache.copy_row(0, 2)
    assert (cache.rows(2, 3).layer(0).cross.update(None, None)[0] == 7.0).all()
    assert cache.lengths.tolist() == [1, 1, 1]
    cache.copy_row(1, 2)
    assert (cache.rows(2, 3).layer(0).cross.update(None, None)[0] != 7.0).all()


def test_a_shorter_source_leaves_nothing_of_the_one_before():
    cache = EncoderDecoderCache(1, 2, 8)
    with_sources(cache, 0, [4, 3], seed=1)
    cache.clear_row(1)
    with_sources(cache, 1, [2], seed=2)
    np.testing.assert_array_equal(cache.source_mask, [[True] * 4, [True, True, False, False]])


def test_rows_of_a_part_are_copied_with_their_sources():
    cache = EncoderDecoderCache(1, 4, 8)
    with_sources(cache, 0, [2, 3, 1], seed=1)
    cache.rows(1, 4).copy_row(0, 2)
    np.testing.assert_array_equal(cache.rows(3, 4).source_mask, cache.rows(1, 2).source_mask)
    keys, _ = cache.layer(0).cross.update(None, None)
    np.testing.assert_array_equal(keys[3], keys[1])


def test_a_cleared_row_still_holds_its_source_after_the_memory_grew():
    cache = EncoderDecoderCache(1, 4, 8)
    (k, _) = with_sources(cache, 0, [2, 3], seed=1)
    cache.copy_row(1, 3)
    cache.clear_row(3)
    with_sources(cache, 2, [6], seed=2)
    cache.copy_row(1, 3)
    np.testing.assert_array_equal(cache.rows(3, 4).layer(0).cross.update(None, None)[0][0, :, :3], k[1])


def test_keys_of_sources_may_come_without_a_mask():
    cache, (k, v) = EncoderDecoderCache(1, 2, 8), draw(2, 2, 3, 4)
    found = cache.layer(0).cross.update(k, v)
    np.testing.assert_array_equal(found, (k, v))


def test_a_window_counts_from_each_rows_own_end(randomise):
    attention = randomise(MultiHeadAttention(8, 2, window=3))
    x = np.random.default_rng(0).standard_normal((2, 9, 8))
    lengths = [8, 3]
    cache = KVCache(1, 2, 16)
    positions, mask = cache.positions_and_mask(8)
    attention(x[:, :8], causal=True, mask=mask, cache=cache.layer(0), positions=positions)
    cache.lengths[:] = lengths
    positions, mask = cache.positions_and_mask(1)
    new = np.stack([x[row, length : length + 1] for row, length in enumerate(lengths)])
    output, _ = attention(new, causal=True, mask=mask, cache=cache.layer(0), positions=positions)
    for row, length in enumerate(lengths):
        alone, _ = attention(x[row : row + 1, : length + 1], causal=True)
        np.testing.assert_allclose(output.data[row, 0], alone.data[0, -1], rtol=1e-9)
