import numpy as np
import pytest

from numformer.errors import InputError
from numformer.metrics.regression import mean_squared_error, pearson, spearman

GOLD = [1.0, 2.0, 3.0, 4.0]
both = pytest.mark.parametrize("score", [pearson, spearman])
every = pytest.mark.parametrize("score", [mean_squared_error, pearson, spearman])


def test_the_error_is_the_mean_of_the_squares():
    assert mean_squared_error([1.0, 4.0], [2.0, 2.0]) == (1.0 + 4.0) / 2


def test_pearson_is_numpys():
    rng = np.random.default_rng(0)
    for count in (2, 3, 50):
        p, g = rng.standard_normal((2, count))
        assert pearson(p.tolist(), g.tolist()) == pytest.approx(np.corrcoef(p, g)[0, 1], abs=1e-12)


def test_spearman_shares_ranks_among_equals():
    """Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 · 5)."""
    assert spearman([1.0, 2.0, 2.0, 7.0], GOLD) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))
    assert spearman(GOLD, [1.0, 2.0, 2.0, 7.0]) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))


def test_spearman_is_one_minus_the_squares_of_the_differences_of_ranks_where_none_are_equal():
    rng = np.random.default_rng(1)
    a, b = rng.permutation(9) + 1.0, rng.permutation(9) + 1.0
    expected = 1 - 6 * np.square(a - b).sum() / (9 * (81 - 1))
    assert spearman(np.exp(a).tolist(), b.tolist()) == pytest.approx(expected)


@both
def test_a_correlation_goes_with_direction_and_not_with_units(score):
    assert score([10.0 * g + 5 for g in GOLD], GOLD) == pytest.approx(1.0)
    assert score([-g for g in GOLD], GOLD) == pytest.approx(-1.0)
    assert score(GOLD, GOLD) <= 1.0


@both
def test_a_constant_has_a_correlation_of_zero(score):
    assert score([0.1] * 4, GOLD) == score(GOLD, [0.1] * 4) == score([3.0], [4.0]) == 0.0


@both
@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e-320])
def test_numbers_of_any_size_have_one(score, scale):
    assert score([scale * g for g in GOLD], GOLD) == pytest.approx(1.0, abs=1e-3)


@every
def test_lists_that_do_not_pair_up_are_refused(score):
    with pytest.raises(InputError, match="got 1 prediction for 2 gold numbers"):
        score([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="nothing to score"):
        score([], [])


@every
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_finite_number_is_named(score, wrong):
    with pytest.raises(InputError, match="a predicted number is"):
        score([1.0, wrong], [1.0, 2.0])
    with pytest.raises(InputError, match="a gold number is"):
        score([1.0, 2.0], [wrong, 2.0])
