import numpy as np
import pytest

from numformer import InputError, Tensor, ops

IDS = np.ones((2, 3), int)
CAUSAL = np.tril(np.ones((3, 3), bool))
BAND = CAUSAL & np.triu(np.ones((3, 3), bool), -1)


@pytest.mark.parametrize("as_given", [np.asarray, np.float32, Tensor, np.ndarray.tolist])
def test_a_matrix_over_targets_says_where_each_may_look(as_given):
    for matrix in (CAUSAL, BAND):
        np.testing.assert_array_equal(ops.target_mask(as_given(matrix), IDS), matrix[None, None])


def test_a_row_for_each_target_hides_its_padding():
    real = np.array([[True, True, False], [True, True, True]])
    np.testing.assert_array_equal(ops.target_mask(real, IDS), real[:, None, None])
    np.testing.assert_array_equal(ops.target_mask(real.astype(int), IDS), real[:, None, None])


def test_with_as_many_rows_as_tokens_only_the_causal_matrix_counts_as_one():
    ids = np.ones((3, 3), int)
    np.testing.assert_array_equal(ops.target_mask(CAUSAL, ids), CAUSAL[None, None])
    np.testing.assert_array_equal(ops.target_mask(BAND, ids), BAND[:, None, None])
    np.testing.assert_array_equal(ops.target_mask(np.ones((3, 3)), ids), np.ones((3, 1, 1, 3), bool))


@pytest.mark.parametrize("batch", [2, 3])
def test_masks_with_more_axes_are_taken_as_they_are(batch):
    ids = np.ones((batch, 3), int)
    for mask in (BAND[None, None], np.stack([BAND] * batch)):
        np.testing.assert_array_equal(ops.target_mask(mask, ids), ops.as_mask(mask))


def test_a_mask_that_is_added_is_refused():
    with pytest.raises(InputError, match=r"True \(or 1\) where a query may attend"):
        ops.target_mask(np.where(CAUSAL, 0.0, -np.inf), IDS)
