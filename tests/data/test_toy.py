import re
from collections import Counter

import pytest

from numformer.data import TOYS, make_key_value_questions, make_toy_pairs, toy_splits
from numformer.errors import InputError

ANSWERS = {
    "identity": lambda source: source,
    "reverse": lambda source: "".join(reversed(source)),
    "sort": lambda source: "".join(
        letter for letter in "abcdefghijklmnopqrstuvwxyz" for _ in range(source.count(letter))
    ),
    "addition": lambda source: str(int(source.split("+")[0]) + int(source.split("+")[1])),
}
WORDS = ("identity", "reverse", "sort")
every_toy = pytest.mark.parametrize("name", TOYS)


def sources(pairs):
    return {source for source, _ in pairs}


def test_the_toys_are_known_by_name():
    assert TOYS == ("identity", "reverse", "sort", "addition")


@every_toy
def test_every_target_is_the_answer(name):
    for source, target in make_toy_pairs(name, 300, seed=0):
        assert target == ANSWERS[name](source)


@every_toy
def test_sources_are_distinct_and_of_the_form_promised(name):
    pairs = make_toy_pairs(name, 3000, seed=1)
    form = r"(\d|[1-9]\d{1,2})\+(\d|[1-9]\d{1,2})" if name == "addition" else "[a-z]{1,12}"
    assert len(pairs) == len(sources(pairs)) == 3000
    assert all(re.fullmatch(form, source) for source, _ in pairs)


@pytest.mark.parametrize("name", WORDS)
def test_words_of_every_length_are_equally_likely_until_used_up(name):
    lengths = Counter(len(source) for source, _ in make_toy_pairs(name, 3000, seed=2))
    assert lengths[1] == 26
    assert all(200 < lengths[length] < 350 for length in range(3, 13))


def test_sums_have_terms_of_every_length():
    terms = [source.split("+") for source, _ in make_toy_pairs("addition", 2000, seed=3)]
    lengths = Counter((len(a), len(b)) for a, b in terms)
    assert lengths[1, 1] > 80
    assert all(lengths[a, b] > 180 for a in (1, 2, 3) for b in (1, 2, 3) if a + b > 2)


@every_toy
def test_the_seed_decides(name):
    assert make_toy_pairs(name, 50, seed=4) == make_toy_pairs(name, 50, seed=4)
    assert make_toy_pairs(name, 50, seed=4) != make_toy_pairs(name, 50, seed=5)
    assert toy_splits(name, 20, 10, 10, seed=4) == toy_splits(name, 20, 10, 10, seed=4)
    assert toy_splits(name, 20, 10, 10, seed=4)[1] != toy_splits(name, 20, 10, 10, seed=5)[1]


@every_toy
def test_excluded_sources_do_not_come(name):
    excluded = sources(make_toy_pairs(name, 200, seed=6)[:100])
    pairs = make_toy_pairs(name, 200, seed=6, exclude=excluded)
    assert len(pairs) == 200
    assert not excluded & sources(pairs)


@every_toy
def test_splits_share_no_source(name):
    train, valid, test = (sources(pairs) for pairs in toy_splits(name, 3000, 1500, 1500, seed=7))
    assert (len(train), len(valid), len(test)) == (3000, 1500, 1500)
    assert not train & valid
    assert not train & test
    assert not valid & test


@every_toy
def test_short_sources_are_for_training_only(name):
    train, valid, test = toy_splits(name, 3000, 500, 500, seed=8)
    assert min(len(source) for source in sources(train)) < 4
    assert {len(source) for source in sources(valid)} == set(range(4, 8 if name == "addition" else 13))
    assert {len(source) for source in sources(test)} == set(range(4, 8 if name == "addition" else 13))


def test_no_pairs_can_be_asked_for():
    assert make_toy_pairs("sort", 0, seed=0) == []


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match=r"no toy task 'add' .*identity, reverse, sort, addition"):
        make_toy_pairs("add", 1, seed=0)
    with pytest.raises(InputError, match="count must be at least 0, got -1"):
        toy_splits("sort", 5, -1, 2, seed=0)
    with pytest.raises(InputError, match="seed must be at least 0, got -1"):
        make_toy_pairs("sort", 1, seed=-1)
    with pytest.raises(InputError, match="addition has at most 500000 pairs to give, got 500001"):
        make_toy_pairs("addition", 500_000, seed=0, exclude={"1+1"})


@pytest.mark.parametrize("num_pairs", [1, 8, 200])
def test_key_value_questions_are_answered_by_their_contexts(num_pairs):
    questions = make_key_value_questions(20, seed=0, num_pairs=num_pairs)
    for question in questions:
        facts = re.findall(r"([a-z]+) (\d+) \.", question.context)
        ((answer, start),) = question.answers
        assert len(question.context.split()) == 3 * num_pairs
        assert len(dict(facts)) == num_pairs
        assert dict(facts)[question.question] == answer
        assert question.context.endswith(f"{question.question} {answer}", 0, start + len(answer))
        assert not question.impossible


def test_key_value_questions_ask_for_every_position():
    questions = make_key_value_questions(200, seed=1, num_pairs=4)
    assert {question.context.split().index(question.question) // 3 for question in questions} == {0, 1, 2, 3}


def test_the_seed_decides_the_key_value_questions():
    first, again, other = (make_key_value_questions(20, seed=seed) for seed in (2, 2, 3))
    assert first == again
    assert not {question.id for question in first} & {question.id for question in other}
    assert not {question.context for question in first} & {question.context for question in other}


@pytest.mark.parametrize(("count", "num_pairs"), [(-1, 8), (1, 0), (1, 201)])
def test_key_value_questions_that_cannot_be_made_are_refused(count, num_pairs):
    with pytest.raises(InputError, match="got"):
        make_key_value_questions(count, seed=0, num_pairs=num_pairs)
