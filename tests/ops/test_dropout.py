import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.ops.dropout import LEVELS, keep_mask

ONES = np.ones((500, 400), np.float32)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_mean_is_kept(p):
    y = ops.dropout(ONES, p=p, key=(1,))
    assert (y == 0.0).mean() == pytest.approx(p, abs=0.005)
    assert y.mean() == pytest.approx(1.0, rel=0.02)
    assert len(np.unique(y)) == 2


def test_probability_0_changes_nothing():
    np.testing.assert_array_equal(ops.dropout(ONES, p=0.0, key=(1,)), ONES)


@pytest.mark.parametrize("p", [0.1, 0.3, 1e-6, 1.0 - 1e-7])
def test_the_scale_belongs_to_the_rounded_probability(p):
    keep, scale = keep_mask((3, 5), p, (1,))
    kept = round(LEVELS / scale)
    assert scale == LEVELS / kept
    assert 1 <= kept <= LEVELS
    assert abs(kept / LEVELS - (1.0 - p)) <= 1.0 / LEVELS
    assert keep.shape == (3, 5)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_other_probabilities_are_refused(p):
    with pytest.raises(InputError, match="at least 0 and below 1"):
        ops.dropout(ONES, p=p, key=(1,))


def test_the_same_key_drops_the_same_elements_and_another_key_others():
    first, again, other = (ops.dropout(ONES, p=0.5, key=key) for key in ((1, 2), (1, 2), (2, 1)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() == pytest.approx(0.5, abs=0.01)


def test_keys_that_differ_in_length_only_are_different():
    keys = [(1,), (1, 0), (1, 0, 0), (0, 1)]
    masks = [keep_mask((1000,), 0.5, key)[0] for key in keys]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert 0.4 < (a == b).mean() < 0.6


def test_the_gradient_passes_where_the_value_passed():
    x = Tensor(ONES, requires_grad=True)
    y = ops.dropout(x, p=0.3, key=(1,))
    np.testing.assert_array_equal(gradients(y, [x], ONES)[0], y.data)
