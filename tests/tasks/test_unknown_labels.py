import pytest

from numformer import InputError
from numformer.tasks.shared.unknown_labels import say_unknown


def test_unknown_labels_are_said_in_one_line_with_their_counts(capsys):
    say_unknown("labels", ["good", "odd", "bad", "odd", "Bad"], ["bad", "good"])
    assert capsys.readouterr().err == (
        "3 of 5 labels are unknown to the model and count as wrong: 'Bad' (1), 'odd' (2)\n"
    )


def test_ten_of_them_are_named(capsys):
    say_unknown("tags", ["X", *(f"tag{number:02}" for number in range(12))], ["X"])
    said = capsys.readouterr().err
    assert said.startswith("12 of 13 tags are unknown")
    assert said.endswith("'tag09' (1), …\n")


@pytest.mark.parametrize("given", [[], ["good"], ["good", "bad", "good"]])
def test_nothing_is_said_where_all_are_known(given, capsys):
    say_unknown("labels", given, ["bad", "good"])
    assert capsys.readouterr().err == ""


def test_a_model_that_knows_none_of_them_measures_nothing():
    with pytest.raises(
        InputError, match=r"none of the labels is known to the model: it has 2: bad, good, and the data"
    ):
        say_unknown("labels", ["pos", "neg"], ["bad", "good"])
