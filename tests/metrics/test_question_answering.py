import pytest

from numformer.errors import InputError
from numformer.metrics import exact_match, f1, normalise_answer, squad_scores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel Tower.", "eiffel tower"),
        ("an apple, a pear\n& the plum!", "apple pear plum"),
        ("Anna's theatre", "annas theatre"),
        ("a-b", "ab"),
        ("«Été» — 5 %", "«été» — 5"),
        ("The", ""),
        ("", ""),
        ("《北京》，（首都）。ジョン・スミス！", "北京首都ジョンスミス"),
    ],
)
def test_answers_lose_case_punctuation_articles_and_extra_spaces(text, expected):
    assert normalise_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "expected"),
    [
        ("the Eiffel tower", ["Paris", "Eiffel Tower!"], 1.0),
        ("Eiffel", ["Eiffel Tower"], 0.0),
        ("", [""], 1.0),
        ("", [], 1.0),
        ("Paris", [], 0.0),
        ("", ["Paris"], 0.0),
    ],
)
def test_exact_match(prediction, answers, expected):
    assert exact_match(prediction, answers) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "expected"),
    [
        ("in the Eiffel tower", ["Eiffel Tower"], 4 / 5),  # 2 of 3 words right, 2 of 2 found
        ("tower Eiffel", ["Eiffel Tower"], 1.0),  # the order does not matter
        ("no no no yes", ["no no"], 4 / 6),  # words count as often as both have them
        ("red", ["blue", "red car", "green"], 2 / 3),  # the best answer counts
        ("red", ["blue"], 0.0),
        ("", [""], 1.0),
        ("", [], 1.0),
        ("the", [""], 1.0),
        ("Paris", [], 0.0),
        ("", ["Paris"], 0.0),
        ("北京市", ["北京"], 4 / 5),  # 2 of 3 characters right, 2 of 2 found
        ("在2024年", ["2024年"], 4 / 5),
        ("ที่", ["ที"], 0.0),  # a letter with its marks counts as one
        ("上海", ["北京"], 0.0),
    ],
)
def test_f1_of_words(prediction, answers, expected):
    assert f1(prediction, answers) == pytest.approx(expected)


def test_scores_are_means_in_per_cent_over_all_questions():
    references = {"1": ["Eiffel Tower"], "2": ["red car"], "3": [], "4": ["never answered"]}
    predictions = {"1": "the Eiffel Tower", "2": "red", "3": "", "another": "ignored"}
    scores = squad_scores(predictions, references)
    assert scores == pytest.approx({"exact_match": 100 * 2 / 4, "f1": 100 * (1 + 2 / 3 + 1) / 4, "total": 4})


def test_a_missing_prediction_is_not_an_empty_one():
    assert squad_scores({}, {"1": []}) == {"exact_match": 0.0, "f1": 0.0, "total": 1}


def test_nothing_to_score_is_refused():
    with pytest.raises(InputError, match="no questions to score"):
        squad_scores({"1": "Paris"}, {})
