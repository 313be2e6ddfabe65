import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numformer.data import near_duplicate_groups, split_by_group
from numformer.errors import InputError

GROUPS = [i % 40 for i in range(100)]  # 20 groups of 3 and 20 of 2


@given(st.lists(st.integers(0, 9), min_size=20, max_size=60), st.floats(0, 0.99), st.integers(0, 9))
def test_parts_are_disjoint_complete_in_order_and_share_no_group(groups, fraction, seed):
    groups += [10, 11]
    train, held_out = split_by_group(groups, fraction, seed)
    assert sorted(train + held_out) == list(range(len(groups)))
    assert (train, held_out) == (sorted(train), sorted(held_out))
    assert not {groups[i] for i in train} & {groups[i] for i in held_out}
    assert len(held_out) <= round(fraction * len(groups))


def test_something_is_left_to_train_on():
    assert list(map(len, split_by_group([0, 1], 0.99, 0))) == [1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_held_out_size_is_met_when_groups_allow_it(seed):
    assert len(split_by_group([*GROUPS, *range(100, 110)], 0.3, seed)[1]) == 33
    assert len(split_by_group(GROUPS, 0.3, seed)[1]) in (29, 30)  # no group has 1
    assert len(split_by_group(list(range(1000)), 0.123, seed)[1]) == 123


@pytest.mark.parametrize("seed", range(5))
def test_a_group_that_does_not_fit_is_skipped_for_ones_that_do(seed):
    groups = [0] * 90 + list(range(1, 11))
    train, held_out = split_by_group(groups, 0.1, seed)
    assert train == list(range(90))
    assert held_out == list(range(90, 100))


def test_the_split_follows_from_the_seed():
    assert split_by_group(GROUPS, 0.3, 1) == split_by_group(GROUPS, 0.3, 1)
    assert split_by_group(GROUPS, 0.3, 1) != split_by_group(GROUPS, 0.3, 2)


def test_large_and_small_groups_are_held_out_alike():
    """Over many seeds, the share of each size among the held-out examples is near its share among all, 60 in 100."""
    held_out = [i for seed in range(200) for i in split_by_group(GROUPS, 0.3, seed)[1]]
    assert sum(GROUPS[i] < 20 for i in held_out) / len(held_out) == pytest.approx(0.6, abs=0.03)


def test_groups_may_be_anything_hashable():
    train, held_out = split_by_group(["a", ("b", 1), "a", ("b", 1)], 0.5, 0)
    assert sorted([train, held_out]) == [[0, 2], [1, 3]]


def test_nothing_is_held_out_of_one_group_or_none_by_the_fraction_0():
    assert split_by_group([7, 7], 0.0, 0) == ([0, 1], [])
    assert split_by_group([], 0.0, 0) == ([], [])


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(InputError, match=r"fraction must be at least 0 and less than 1, got (-0.1|1.0|nan)"):
        split_by_group([0, 1], fraction, 0)


@pytest.mark.parametrize("groups", [[], [3, 3, 3]])
def test_one_group_cannot_be_put_on_two_sides(groups):
    with pytest.raises(InputError, match=f"at least 2 groups of examples, got {len(set(groups))}"):
        split_by_group(groups, 0.5, 0)


# Near-duplicates.


def same_group(first, second):
    groups = near_duplicate_groups([(first, "un"), (second, "deux")])
    assert groups == near_duplicate_groups([("un", first), ("deux", second)])
    return groups == [0, 0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Run!", "Run."),
        ("Run!", "run"),
        ("Cours !", "Cours\u202f!"),
        ("It's me.", "It’s me…"),
        ("a  b", "ab"),
        ("Straße", "STRASSE"),
        ("Ｒｕｎ", "Run"),
        ("été", unicodedata.normalize("NFD", "été")),
        ("co\u00adop", "coop"),
    ],
)
def test_case_punctuation_spacing_and_unicode_form_are_ignored(first, second):
    assert same_group(first, second)


@pytest.mark.parametrize(
    ("first", "second"), [("Run", "Ran"), ("ou", "où"), ("?!", "..."), ("1 + 1", "1 - 1"), ("किताब", "कताब")]
)
def test_other_differences_count(first, second):
    assert not same_group(first, second)


def test_pairs_that_share_a_source_or_a_target_are_one_group():
    pairs = [("Run!", "Cours !"), ("Go.", "Va !"), ("Run.", "Courez !"), ("Race!", "Courez."), ("Hi.", "Salut !")]
    assert near_duplicate_groups(pairs) == [0, 1, 0, 0, 4]


def test_a_source_that_is_the_target_of_another_pair_is_no_link():
    assert near_duplicate_groups([("no", "non"), ("non", "nein")]) == [0, 1]


def test_long_chains_are_followed_in_any_order():
    pairs = [(f"s{(i + 1) // 2}", f"t{i // 2}") for i in range(5000)]
    assert near_duplicate_groups(pairs) == [0] * 5000
    assert near_duplicate_groups(pairs[::-1]) == [0] * 5000
    assert near_duplicate_groups([*pairs[::2], ("other", "other"), *pairs[1::2]]) == [0] * 2500 + [2500] + [0] * 2500


def test_no_pairs_have_no_groups():
    assert near_duplicate_groups([]) == []
