import json
import random

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
    questions = squad_text(tmp_path, json.dumps(data))
    assert questions == [Question(name, "Where is Paris?", f"{name} b", ((name, 0),)) for name in "xyz"]


def test_every_answer_is_kept_and_positions_count_characters(tmp_path):
    found = squad(tmp_path, question(answers=(("Italy", 33), ("in Italy", 30))))
    assert found[0].answers == (("Italy", 33), ("in Italy", 30))
    assert found.report() == "1 question"


def test_a_byte_order_mark_is_dropped(tmp_path):
    text = json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": [question()]}]}]})
    assert len(squad_text(tmp_path, "\ufeff" + text)) == 1


@pytest.mark.parametrize("answer", [("France", 11), ("France", 0), ("Italy", 100), (".", -1), ("", 3), (" ", 5)])
def test_an_answer_that_does_not_stand_at_its_position_is_left_out_and_counted(answer, tmp_path):
    found = squad(tmp_path, question(answers=(answer, ("France", 12))))
    assert found[0].answers == (("France", 12),)
    assert found.report() == "1 question; 1 single answer left out, not at the position that is given"


def test_what_is_no_question_with_an_answer_is_left_out_and_counted(tmp_path):
    found = squad(
        tmp_path, question("1"), question("2", answers=[("Rome", 0)]), question("3", answers=[]), question("4", " ")
    )
    assert [read.id for read in found] == ["1"]
    assert found.left_out == {"misplaced answer": 1, "no answer": 1, "blank question": 1}
    assert found.first["no answer"].endswith("squad.json, data[0].paragraphs[0].qas[2]")
    assert found.rows == 4


def test_questions_about_a_blank_context_are_left_out_and_counted(tmp_path):
    paragraphs = [
        {"context": context, "qas": [question(context, answers=[("Paris", 0)])]} for context in (CONTEXT, " ")
    ]
    found = squad_text(tmp_path, json.dumps({"data": [{"paragraphs": paragraphs}]}))
    assert (len(found), found.left_out) == (1, {"blank context": 1})


def test_an_impossible_question_is_kept_without_answers(tmp_path):
    possible = question("1", is_impossible=False)
    impossible = question("2", is_impossible=True, plausible_answers=[{"text": "Rome", "answer_start": 22}])
    found = squad(tmp_path, possible, impossible)
    assert [(read.impossible, len(read.answers)) for read in found] == [(False, 1), (True, 0)]
    assert not found.left_out


def test_an_id_used_twice_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data\[0\]\.paragraphs\[0\]\.qas\[1\]: the id '1' was used before"):
        squad(tmp_path, question(), question())


def test_a_file_without_usable_questions_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"squad\.json holds no question with an answer"):
        squad(tmp_path, question(answers=[]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"squad\.json holds no question with an answer in its context \(0 questions\)"),
        ("[3]", r"squad\.json, item 1: expected a JSON object, got an integer"),
        ('{"data": {}}', r"squad\.json: 'data' must be a list, got an object"),
        ('{"data": [3]}', r"squad\.json, data\[0\]: expected an object, got an integer"),
        (
            '{"data": [{"paragraphs": []}, {"title": 0}]}',
            r"data\[1\]: there are no 'paragraphs', 'qas' or 'question' \(the keys are 'title'\)",
        ),
        ("{}", r"squad\.json, line 1: there are no .* \(the keys are none\)"),
        ("3", r"squad\.json, line 1: expected a JSON object, got an integer"),
        ('{\n"rows": []}', r"squad\.json: expected the object of SQuAD, with the list 'data', or rows of questions"),
        ('{"data": [{"paragraphs": [{"qas": [{}]}]}]}', r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: there is no 'context'"),
        ('{"data": [{"paragraphs": [{"context": "a"}]}]}', r"data\[0\]\.paragraphs\[0\]: there are no .*'context'"),
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
        ({"id": 3.5}, r"qas\[0\]: 'id' must be text or an integer, got a number"),
        ({"question": 3}, r"qas\[0\]: the question must be text, got an integer"),
        ({"question": "a\ud83d"}, r"qas\[0\]: the question holds half a surrogate pair"),
        ({"is_impossible": 0}, r"qas\[0\]: 'is_impossible' must be true or false, got an integer"),
        ({"answers": None}, r"qas\[0\]\.answers: expected a list or an object, got null"),
        ({"answers": {"text": ["a", "b"], "answer_start": [1]}}, r"answers: got 2 texts for 1 position"),
        ({"answers": {"text": ["France"]}}, r"answers: there is no 'answer_start'"),
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


def row(name="1", answers=None, **more):
    """Return a question as Hugging Face has them, with its context beside it."""
    given = {"text": ["France"], "answer_start": [12]} if answers is None else answers
    return {"id": name, "title": "t", "context": CONTEXT, "question": "Where is Paris?", "answers": given, **more}


@pytest.mark.parametrize("name", ["squad.jsonl", "squad.json"])
@pytest.mark.parametrize("form", ["lines", "array", "data"])
def test_rows_are_read_as_lines_as_an_array_and_under_data(name, form, tmp_path):
    rows = [row("1"), row("2", {"text": ["Rome", "Italy"], "answer_start": [22, 33]}), row("3", is_impossible=True)]
    text = {"lines": "\n".join(map(json.dumps, rows)), "array": json.dumps(rows, indent=1)}
    text["data"] = json.dumps({"version": "1", "data": rows})
    (tmp_path / name).write_text(text[form])
    assert read_squad(tmp_path / name) == [
        Question("1", "Where is Paris?", CONTEXT, (("France", 12),)),
        Question("2", "Where is Paris?", CONTEXT, (("Rome", 22), ("Italy", 33))),
        Question("3", "Where is Paris?", CONTEXT, (), impossible=True),
    ]


def test_a_row_with_empty_lists_of_answers_has_none(tmp_path):
    rows = [row("1"), row("2", {"text": [], "answer_start": []})]
    found = squad_text(tmp_path, "\n".join(map(json.dumps, rows)))
    assert [(read.impossible, read.answers) for read in found] == [(False, (("France", 12),)), (True, ())]


def test_the_answers_of_a_question_may_be_one_object(tmp_path):
    asked = {**question(), "answers": {"text": "Rome", "answer_start": 22}}
    assert squad(tmp_path, asked)[0].answers == (("Rome", 22),)


def test_an_id_may_be_a_number_or_the_place(tmp_path):
    without = {key: value for key, value in row().items() if key != "id"}
    found = squad_text(tmp_path, "\n".join(map(json.dumps, [row(7), without])))
    assert [read.id for read in found] == ["7", "line 2"]


def test_malformed_questions_paragraphs_and_articles_are_left_out_where_that_is_asked_for(tmp_path):
    good = {"context": CONTEXT, "qas": [question("1"), question("1"), {"id": "2"}, 7]}
    data = {"data": [{"paragraphs": [good, {"qas": [question("3"), question("4")]}, 3]}, None, {"paragraphs": 0}]}
    (tmp_path / "squad.json").write_text(json.dumps(data))
    found = read_squad(tmp_path / "squad.json", skip_bad=True)
    assert [read.id for read in found] == ["1"]
    assert found.left_out == {"malformed": 8}
    with pytest.raises(InputError, match=r"the id '1' was used before \(--skip-bad leaves such questions out\)"):
        read_squad(tmp_path / "squad.json")


def test_malformed_lines_are_left_out_where_that_is_asked_for(tmp_path):
    lines = [json.dumps(row()), "{", json.dumps({"context": CONTEXT}), "", json.dumps(row("9"))]
    (tmp_path / "squad.jsonl").write_text("\n".join(lines))
    found = read_squad(tmp_path / "squad.jsonl", skip_bad=True)
    assert ([read.id for read in found], found.rows) == (["1", "9"], 4)
    assert found.report() == "4 questions; 2 left out (2 malformed, first at line 2)"


def mutated(value, rng):
    """Return JSON in which parts are missing, doubled, or something else."""
    if rng.random() < 0.05:
        return rng.choice([None, 3, "", [], {}, "x", True, 1.5, ["a"], {"text": 1}, " ", "\0", "\ud800"])
    if isinstance(value, dict):
        return {key: mutated(part, rng) for key, part in value.items() if rng.random() > 0.03}
    if isinstance(value, list):
        return [mutated(part, rng) for part in value] * rng.choice([1, 1, 1, 2])
    return value


def test_a_damaged_file_is_read_or_refused_in_a_sentence(tmp_path):
    paragraphs = [{"context": CONTEXT, "qas": [question("1"), question("2", is_impossible=True)]}]
    files = [{"data": [{"paragraphs": paragraphs}]}, [row("1"), row("2")], {"data": [row("1")]}]
    rng, outcomes, file = random.Random(0), set(), tmp_path / "squad.json"
    for number in range(600):
        text = json.dumps(mutated(rng.choice(files), rng), indent=rng.choice([None, 1]))
        file.write_text(text[: rng.randrange(len(text) + 1)] if rng.random() < 0.2 else text)
        try:
            found = read_squad(file, skip_bad=number % 2 == 0)
            assert all(read.question and read.context for read in found)
            outcomes.add("read")
        except InputError as error:
            outcomes.add(f"refused in {len(str(error).splitlines())} line")
    assert outcomes == {"read", "refused in 1 line"}
