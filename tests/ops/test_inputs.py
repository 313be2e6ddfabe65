"""Ids and masks as models are given them, on every kind of array."""

import array_api_strict as xp
import numpy as np
import pytest

from numformer import InputError, Tensor, ops
from numformer.autograd import kind_of

IDS = [[3, 1, 0], [2, 0, 0]]
KINDS = {"numpy": np, "strict": xp}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def as_numpy(array, kind):
    """Return the values of an array that must be of a kind."""
    assert kind_of(array) == kind.__name__
    return np.array(array.tolist() if kind is np else array._array.tolist())


@every_kind
def test_token_ids_stay_the_array_that_they_are(kind):
    ids = kind.asarray(IDS)
    assert ops.as_ids(ids) is ids
    assert ops.as_ids(kind.asarray([IDS]), features=True).shape == (1, 2, 3)


@every_kind
@pytest.mark.parametrize("tokens", [[1, 2], [[1.5, 2.0]], [[True, False]], [[[1]]], [[]]])
def test_other_token_ids_are_refused_for_every_kind(tokens, kind):
    with pytest.raises(InputError, match=r"^tokens must be integers with axes \[B T\], got "):
        ops.as_ids(kind.asarray(tokens))


@every_kind
@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 4), (1, 1, 3, 4)), ((2, 3, 4), (2, 1, 3, 4)), ((2, 5, 3, 4), (2, 5, 3, 4))]
)
@pytest.mark.parametrize("dtype", ["bool", "int64", "float32"])
def test_masks_of_every_kind_come_as_four_axes(shape, expected, dtype, kind):
    mask = np.random.default_rng(0).random(shape) < 0.5
    converted = ops.as_mask(kind.astype(kind.asarray(mask.tolist()), getattr(kind, dtype)))
    assert converted.dtype == kind.bool
    np.testing.assert_array_equal(as_numpy(converted, kind), mask.reshape(expected))


@every_kind
@pytest.mark.parametrize("shape", [(3,), (1, 1, 1, 1, 2)])
def test_masks_of_other_shapes_are_refused_for_every_kind(shape, kind):
    with pytest.raises(InputError, match=r"^an attention mask has axes \[T S\], \[B T S\] or \[B H T S\], got shape"):
        ops.as_mask(kind.ones(shape, dtype=kind.bool))


def test_numbers_besides_0_and_1_are_no_mask():
    for numbers in ([[0, 2]], [[0.0, -1e9]], [[0.5, 1.0]]):
        with pytest.raises(InputError, match=r"holds True \(or 1\) where a query may attend"):
            ops.as_mask(np.array(numbers))


@every_kind
def test_a_padding_mask_hides_one_id(kind):
    mask = ops.padding_mask(kind.asarray(IDS), 0)
    np.testing.assert_array_equal(as_numpy(mask, kind), [[[[True, True, False]]], [[[True, False, False]]]])


@every_kind
@pytest.mark.parametrize("dtype", ["bool", "int64"])
def test_a_key_mask_comes_as_b_s_or_as_a_whole_mask(dtype, kind):
    real = kind.astype(kind.asarray([[True, True, False]]), getattr(kind, dtype))
    np.testing.assert_array_equal(as_numpy(ops.key_mask(real), kind), [[[[True, True, False]]]])
    whole = kind.ones((2, 5, 3, 4), dtype=kind.bool)
    assert ops.key_mask(whole).shape == (2, 5, 3, 4)


@every_kind
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 1, 1, 1, 1)])
def test_a_key_mask_of_another_shape_is_refused(shape, kind):
    with pytest.raises(InputError, match="mask has axes"):
        ops.key_mask(kind.ones(shape, dtype=kind.bool))


@every_kind
def test_a_causal_mask_is_of_the_kind_of_another_array(kind):
    mask = ops.causal_mask(3, kind.ones(1))
    assert mask.dtype == kind.bool
    np.testing.assert_array_equal(as_numpy(mask, kind), np.tri(3, dtype=bool))
    assert isinstance(ops.causal_mask(2), np.ndarray)
    assert isinstance(ops.causal_mask(2, Tensor([1.0])), np.ndarray)
    assert ops.causal_mask(0).shape == (0, 0)


@every_kind
def test_the_last_true_position_of_every_kind(kind):
    mask = kind.asarray([[True, False, True, False], [False, False, False, False], [True, True, True, True]])
    np.testing.assert_array_equal(as_numpy(ops.last_true(mask), kind), [2, 3, 3])


@pytest.mark.parametrize(
    "given", [IDS, tuple(map(tuple, IDS)), np.array(IDS), Tensor(IDS)], ids=lambda v: type(v).__name__
)
def test_numpys_side_takes_lists_arrays_and_tensors(given):
    np.testing.assert_array_equal(ops.as_ids(given), IDS)
    assert ops.padding_mask(given, 0).shape == (2, 1, 1, 3)
    ones = Tensor(np.ones((2, 3), bool)) if isinstance(given, Tensor) else [[True] * 3] * 2
    assert ops.key_mask(ones).shape == (2, 1, 1, 3)
    assert ops.as_mask(ones).shape == (1, 1, 2, 3)


@pytest.mark.parametrize("make", [ops.as_ids, ops.as_mask, lambda ids: ops.padding_mask(ids, 0)])
def test_rows_of_unequal_length_are_refused_with_their_lengths(make):
    with pytest.raises(
        InputError, match=r"must have one length, got rows of 2, 1 elements; pad them first \(nf.Padding"
    ):
        make([[1, 2], [3]])


@pytest.mark.parametrize("positions", [[4, 5], [[4, 5], [1, 2]]], ids=str)
def test_a_window_counts_back_from_the_position_of_each_query(positions):
    positions = np.array(positions)
    mask = np.random.default_rng(0).random((2, 1, 2, 7)) < 0.8
    found = ops.window_mask(mask, positions, 3)
    rows = np.broadcast_to(positions, (2, 2))
    for row, t, s in np.ndindex(2, 2, 7):
        assert found[row, 0, t, s] == (mask[row, 0, t, s] and s > rows[row, t] - 3)
