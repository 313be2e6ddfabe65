import json

import pytest

from numformer.data import Question, read_squad
from numformer.errors import InputError

CONTEXT = "Paris is in France. 😀 Rome is in Italy."


def question(name="1", text="Where is Paris?", answers=(("France", 12),), **more):
    listed = [{"text": answer, "answer_start": start} for answer, start in answers]
    return {"id": name, "question": text, "answers": listed, **more}


def squad(folder, *questions, context=CONTEXT):
    return squad_text(folder, json.dumps({"data": [{"paragraphs": [{"context": context, "qas": questions}]}]}))


def squad_text(folder, text):
    file = folder / "squad.json"
    file.write_text(text, encoding="utf-8")
    return read_squad(file)


def test_questions_of_every_article_and_paragraph_are_read_in_order(tmp_path):
    paragraphs = [{"context": f"{name} b", "qas": [question(name, answers=((name, 0),))]} for name in "xyz"]
    data = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs[:2]}, {"paragraphs": paragraphs[2:]}]}
    questions = squad_text(tmp_path, json.dumps(data)).questions
    assert questions == [Question(name, "Where is Paris?", f"{name} b", ((name, 0),)) for name in "xyz"]


def test_every_answer_is_kept_and_positions_count_characters(tmp_path):
    (read,), skipped, skipped_answers = squad(tmp_path, question(answers=(("Italy", 33), ("in Italy", 30))))
    assert read.answers == (("Italy", 33), ("in Italy", 30))
    assert (skipped, skipped_answers) == (0, 0)


def test_a_byte_order_mark_is_dropped(tmp_path):
    text = json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": [question()]}]}]})
    assert len(squad_text(tmp_path, "\ufeff" + text).questions) == 1


@pytest.mark.parametrize("answer", [("France", 11), ("France", 0), ("Italy", 100), (".", -1), ("", 3), (" ", 5)])
def test_an_answer_that_does_not_stand_at_its_position_is_left_out_and_counted(answer, tmp_path):
    file = squad(tmp_path, question(answers=(answer, ("France", 12))))
    assert file.questions[0].answers == (("France", 12),)
    assert (file.skipped, file.skipped_answers) == (0, 1)


def test_questions_without_an_answer_or_without_words_are_left_out_and_counted(tmp_path):
    file = squad(
        tmp_path, question("1"), question("2", answers=[("Rome", 0)]), question("3", answers=[]), question("4", " ")
    )
    assert [read.id for read in file.questions] == ["1"]
    assert (file.skipped, file.skipped_answers) == (3, 0)


def test_an_impossible_question_is_kept_without_answers(tmp_path):
    possible = question("1", is_impossible=False)
    impossible = question("2", is_impossible=True, plausible_answers=[])
    file = squad(tmp_path, possible, impossible)
    assert [(read.impossible, len(read.answers)) for read in file.questions] == [(False, 1), (True, 0)]
    assert file.skipped == 0


def test_an_id_used_twice_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data\[0\]\.paragraphs\[0\]\.qas\[1\]: the id '1' was used before"):
        squad(tmp_path, question(), question())


def test_a_file_without_usable_questions_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"squad\.json holds no question with an answer"):
        squad(tmp_path, question(answers=[]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"squad\.json: expected an object, got a list"),
        ("{}", r"squad\.json: there is no 'data' \(the keys are none\)"),
        ('{"data": {}}', r"squad\.json: 'data' must be a list, got an object"),
        ('{"data": [3]}', r"squad\.json, data\[0\]: expected an object, got an integer"),
        ('{"data": [{"paragraphs": []}, {"title": 0}]}', r"data\[1\]: there is no 'paragraphs' \(.*'title'\)"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r"data\[0\]\.paragraphs\[0\]: there is no 'context'"),
        ('{"data": [{"paragraphs": [{"context": " "}]}]}', r"paragraphs\[0\]: the context is blank"),
        ('{"data": [', r"squad\.json, line 1: not valid JSON"),
        ("", r"squad\.json is empty"),
    ],
)
def test_what_is_not_of_the_format_is_named_with_its_place(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        squad_text(tmp_path, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 3}, r"qas\[0\]: 'id' must be text, got an integer"),
        ({"question": None}, r"qas\[0\]: 'question' must be text, got null"),
        ({"question": "a\ud83d"}, r"qas\[0\]: the question holds half a surrogate pair"),
        ({"is_impossible": 0}, r"qas\[0\]: 'is_impossible' must be true or false, got an integer"),
        ({"answers": [{"text": "France"}]}, r"qas\[0\]\.answers\[0\]: there is no 'answer_start'"),
        ({"answers": [{"text": "F", "answer_start": 1.0}]}, "'answer_start' must be an integer, got a number"),
    ],
)
def test_a_question_that_is_not_of_the_format_is_named_with_its_place(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        squad(tmp_path, {**question(), **change})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"could not read .*none\.json: No such file"):
        read_squad(tmp_path / "none.json")
