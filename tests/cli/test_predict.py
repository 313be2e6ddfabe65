"""`numformer predict` and `numformer translate`: texts in, one line out for each."""

import json
import os
import subprocess
import sys

import pytest

TEXTS = ["Zoë likes 😀.", "", "Ann sees the cat. Ann sees a film. Tom knows the cat.", "Bob"]
LINES = "".join(f"{text}\n" for text in TEXTS)
TASKS = ["seq2seq", "summarise", "classify", "regress", "tag"]
BEGINNING = {"seq2seq": "source", "summarise": "source"}  # the key that says the text again; "text" for the others
BLANK = {
    "seq2seq": {"source": "", "target": "", "score": 0.0},
    "summarise": {"source": "", "target": "", "score": 0.0},
    "classify": {"text": "", "label": None, "score": None},
    "regress": {"text": "", "value": None},
    "tag": {"text": "", "words": [], "tags": [], "scores": [], "entities": []},
    "mlm": {"text": "", "masks": None},
}


def objects(result, blank=0):
    """Return the objects that were printed; on stderr only the number of blank inputs may stand."""
    lines = result.out.count("\n")
    notes = f"{blank} of {lines} input{'s' * (lines != 1)} without a prediction: blank\n" if blank else ""
    assert (result.status, result.err) == (0, notes), result
    return [json.loads(line) for line in result.out.split("\n")[:-1]]


def the_same(found, expected):
    """Compare results up to the last digits of numbers, which depend on what else lies in a batch."""
    (this, numbers), (that, others) = map(without_numbers, (found, expected))
    return this == that and numbers == pytest.approx(others, rel=1e-4)


def without_numbers(found):
    numbers = []
    return json.loads(json.dumps(found), parse_float=lambda text: numbers.append(float(text))), numbers


def shell(command, **settings):
    """Run a shell command with `numformer` in it."""
    command = command.replace("numformer", f"{sys.executable} -m numformer")
    return subprocess.run(["bash", "-c", command], capture_output=True, check=False, **settings)


# Where texts come from.


@pytest.mark.parametrize("task", TASKS)
def test_there_is_one_object_for_every_text_in_order(runs_of_tasks, numformer, task):
    found = objects(numformer("predict", runs_of_tasks(task), *TEXTS), blank=1)
    assert [each[BEGINNING.get(task, "text")] for each in found] == TEXTS
    alone = [objects(numformer("predict", runs_of_tasks(task), text), blank=int(not text))[0] for text in TEXTS]
    assert all(map(the_same, found, alone))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_arguments_a_file_and_standard_input_are_the_same(here, runs_of_tasks, numformer, stdin, task, ends, begin):
    data = (begin + LINES.replace("\n", ends)).encode()
    (here / "in.txt").write_bytes(data)
    stdin(data)
    piped = objects(numformer("predict", runs_of_tasks(task)), blank=1)
    assert piped == objects(numformer("predict", runs_of_tasks(task), "--input", "in.txt"), blank=1)
    assert piped == objects(numformer("predict", runs_of_tasks(task), *TEXTS), blank=1)


@pytest.mark.parametrize("task", BLANK)
def test_a_blank_input_is_answered_by_nothing_in_its_place(runs_of_tasks, numformer, task):
    assert objects(numformer("predict", runs_of_tasks(task), "", ""), blank=2) == [BLANK[task]] * 2


def test_the_last_line_needs_no_end(runs_of_tasks, numformer, stdin):
    stdin(b"Ann\nBob")
    assert [each["text"] for each in objects(numformer("predict", runs_of_tasks("classify")))] == ["Ann", "Bob"]


def test_other_separators_do_not_end_a_line(here, runs_of_tasks, numformer, stdin):
    (here / "in.txt").write_bytes(LINES.replace("likes", "\u2028\x0b\x0c\x85").encode())
    stdin((here / "in.txt").read_bytes())
    assert len(objects(numformer("predict", runs_of_tasks("classify")), blank=1)) == len(TEXTS)
    assert len(objects(numformer("predict", runs_of_tasks("classify"), "--input", "in.txt"), blank=1)) == len(TEXTS)


def test_targets_that_are_searched_under_jax_are_the_same(numformer, runs_of_tasks):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")
    run = runs_of_tasks("seq2seq")
    found, expected = (numformer("translate", run, "--backend", kind, "a", "b") for kind in ("jax", "numpy"))
    assert (found.status, found.out) == (0, expected.out)


@pytest.mark.parametrize("command", ["predict", "translate"])
@pytest.mark.parametrize("closed", [False, True])
def test_nothing_in_gives_nothing_out(runs_of_tasks, numformer, stdin, monkeypatch, command, closed):
    stdin(b"")
    if closed:
        monkeypatch.setattr(sys, "stdin", None)
    result = numformer(command, runs_of_tasks("seq2seq"))
    assert (result.status, result.out, result.err) == (0, "", "")


def test_a_text_may_begin_with_a_dash(runs_of_tasks, numformer):
    found = objects(numformer("predict", runs_of_tasks("classify"), "-5 degrees", "--", "--input"))
    assert [each["text"] for each in found] == ["-5 degrees", "--input"]


def test_the_output_is_utf8_whatever_the_locale(runs_of_tasks):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = shell(f"printf 'Zoë 😀\\r\\n' | numformer predict {runs_of_tasks('classify')}", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith('{"text": "Zoë 😀", "label": ')


def test_a_reader_that_has_seen_enough_causes_no_complaint(runs_of_tasks):
    many = f"yes Ann | head -n 2000 | numformer predict {runs_of_tasks('classify')} | head -n 1"
    done = shell(f"{many}; echo ${{PIPESTATUS[2]}}")
    assert (done.stdout.splitlines()[-1], done.stderr) == (b"0", b"")


def test_bytes_that_are_not_utf8_in_an_argument_leave_as_they_came(runs_of_tasks):
    done = shell(f"numformer predict {runs_of_tasks('classify')} $'a\\xffb'")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b'{"text": "a\xffb", "label": ')


def test_a_closed_standard_output_is_no_error(runs_of_tasks):
    done = shell(f"numformer predict {runs_of_tasks('classify')} Ann >&-")
    assert (done.returncode, done.stderr) == (0, b"")


# What the objects say.


def test_a_classifier_gives_the_probabilities_of_all_labels(runs_of_tasks, numformer):
    (found,) = objects(numformer("predict", runs_of_tasks("classify"), "Ann likes it."))
    assert found.keys() == {"text", "label", "score", "scores"}
    assert found["scores"].keys() == {"neg", "pos"}
    assert sum(found["scores"].values()) == pytest.approx(1.0)
    assert found["score"] == found["scores"][found["label"]] == max(found["scores"].values())


def test_a_regressor_gives_a_number(runs_of_tasks, numformer):
    (found,) = objects(numformer("predict", runs_of_tasks("regress"), "Ann likes it."))
    assert found.keys() == {"text", "value"}
    assert isinstance(found["value"], float)


def test_a_tagger_gives_a_tag_and_a_score_for_every_word_and_the_entities(runs_of_tasks, numformer):
    found = objects(numformer("predict", runs_of_tasks("tag"), "Zoë sees Tom."))
    assert found[0]["words"] == ["Zoë", "sees", "Tom", "."]
    assert len(found[0]["tags"]) == len(found[0]["scores"]) == 4
    assert set(found[0]["tags"]) <= {"B-PER", "O"}
    beginnings = [number for number, tag in enumerate(found[0]["tags"]) if tag == "B-PER"]
    assert [entity["start"] for entity in found[0]["entities"]] == beginnings
    for entity in found[0]["entities"]:
        assert "Zoë sees Tom."[entity["start_char"] : entity["end_char"]] == entity["text"]


@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("mark", ["[MASK]", "<mask>"])
def test_a_masked_language_model_fills_every_mark_with_the_likeliest_tokens(runs_of_tasks, numformer, top_k, mark):
    text = f"Ann {mark}ees the c{mark}t."
    (found,) = objects(numformer("predict", runs_of_tasks("mlm"), text, "--top-k", top_k))
    assert found["text"] == text
    assert [len(mask) for mask in found["masks"]] == [top_k, top_k]
    for mask in found["masks"]:
        scores = [choice["score"] for choice in mask]
        assert scores == sorted(scores, reverse=True)
        assert len({choice["token"] for choice in mask}) == top_k


def test_further_targets_come_in_the_order_of_their_scores(runs_of_tasks, numformer):
    run = runs_of_tasks("seq2seq")
    (best,) = objects(numformer("predict", run, "Ann", "--max-new-tokens", 4))
    (found,) = objects(numformer("predict", run, "Ann", "--max-new-tokens", 4, "--num-return", 3))
    alternatives = found.pop("alternatives")
    assert the_same(found, best)
    assert len(alternatives) == 2
    scores = [found["score"], *(each["score"] for each in alternatives)]
    assert scores == sorted(scores, reverse=True)


# Questions.

CONTEXT = "Ann sees the cat.\nZoë likes 😀."
QUESTIONS = ["Who?", "Why 😀?", ""]


def test_a_context_is_a_text_or_a_file_and_questions_come_from_anywhere(here, runs_of_tasks, numformer, stdin):
    (here / "context.txt").write_text(CONTEXT)
    (here / "in.txt").write_text("".join(f"{question}\n" for question in QUESTIONS))
    stdin((here / "in.txt").read_bytes())
    run = runs_of_tasks("qa")
    found = objects(numformer("predict", run, *QUESTIONS, "--context", CONTEXT), blank=1)
    assert [each["question"] for each in found] == QUESTIONS
    assert found[2] == {"question": "", "answer": None, "start": None, "end": None, "score": None}
    for each in found[:2]:
        assert each["answer"] == CONTEXT[each["start"] : each["end"]]
        assert 0.0 <= each["score"] <= 1.0
    assert found == objects(numformer("predict", run, *QUESTIONS, "--context", "context.txt"), blank=1)
    assert found == objects(numformer("predict", run, "--input", "in.txt", "--context", "context.txt"), blank=1)
    assert found == objects(numformer("predict", run, "--context", "context.txt"), blank=1)


def test_texts_in_another_encoding_are_read_when_that_is_named(here, runs_of_tasks, numformer):
    (here / "in.txt").write_bytes("Zoé\n".encode("latin-1"))
    (found,) = objects(numformer("predict", runs_of_tasks("classify"), "--input=in.txt", "--encoding=latin-1"))
    assert found["text"] == "Zoé"


def test_questions_with_contexts_come_from_json_lines(here, runs_of_tasks, numformer):
    rows = [
        {"question": "Who?", "context": CONTEXT},
        {"question": "Why?", "context": " ".join(f"Tom is 😀 here {i}." for i in range(40))},
    ]
    (here / "in.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    found = objects(numformer("predict", runs_of_tasks("qa"), "--input", "in.jsonl"))
    alone = [
        objects(numformer("predict", runs_of_tasks("qa"), row["question"], "--context", row["context"]))[0]
        for row in rows
    ]
    assert all(map(the_same, found, [{**row, **each} for row, each in zip(rows, alone, strict=True)]))


@pytest.mark.parametrize("context", ["日本" * 100, "a/" * 5000, "."])
def test_a_context_that_no_file_can_be_named_is_a_text(runs_of_tasks, numformer, context):
    (found,) = objects(numformer("predict", runs_of_tasks("qa"), "Who?", "--context", context))
    assert found["answer"] == context[found["start"] : found["end"]]


# Translation.


@pytest.mark.parametrize("task", ["seq2seq", "summarise"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_translate_prints_a_line_for_a_line(here, runs_of_tasks, numformer, stdin, task, ends):
    (here / "in.txt").write_bytes(LINES.replace("\n", ends).encode())
    stdin((here / "in.txt").read_bytes())
    run = runs_of_tasks(task)
    result = numformer("translate", run)
    assert (result.status, result.err) == (0, "")
    assert result.out == numformer("translate", run, "--input", "in.txt").out
    targets = [each["target"] for each in objects(numformer("predict", run, *TEXTS), blank=1)]
    lines = result.out.split("\n")[:-1]
    assert lines == [" ".join(target.splitlines()) if text else "" for text, target in zip(TEXTS, targets, strict=True)]
    assert result.out.count("\n") == len(TEXTS)


def test_blank_lines_stay_blank_lines_in_a_pipe(runs_of_tasks):
    done = shell(f"printf 'Ann\\n\\n \\nBob\\n\\n' | numformer translate {runs_of_tasks('seq2seq')} --num-beams 1")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().split("\n")
    assert [bool(line.strip()) for line in lines] == [True, False, False, True, False, False]


def test_a_target_with_line_breaks_stays_on_one_line(runs_of_tasks, numformer, monkeypatch):
    monkeypatch.setattr(
        "numformer.tasks.translation.Translator.predict",
        lambda self, texts, **settings: [{"source": text, "target": "one\ntwo\u2028three"} for text in texts],
    )
    assert numformer("translate", runs_of_tasks("seq2seq"), "a", "b").out == "one two three\none two three\n"


def test_the_settings_of_the_search_are_followed(runs_of_tasks, numformer, monkeypatch):
    def predict(self, texts, *, num_beams, length_penalty, max_new_tokens, num_return=1):
        found = (num_beams, length_penalty, num_return, max_new_tokens)
        return [{"source": text, "target": str(found)} for text in texts]

    monkeypatch.setattr("numformer.tasks.translation.Translator.predict", predict)
    words = ["--num-beams", 7, "--length-penalty", 0.5, "--max-new-tokens", 9]
    assert numformer("translate", runs_of_tasks("seq2seq"), "a", *words).out == "(7, 0.5, 1, 9)\n"
    assert "(7, 0.5, 3, 9)" in numformer("predict", runs_of_tasks("seq2seq"), "a", *words, "--num-return", 3).out


@pytest.mark.parametrize("task", ["seq2seq", "summarise"])
def test_a_blank_source_has_a_blank_target(runs_of_tasks, numformer, task):
    first, second = objects(
        numformer("predict", runs_of_tasks(task), " ", "", "--num-beams=2", "--num-return=2"), blank=2
    )
    assert first == {"source": " ", "target": "", "score": 0.0, "alternatives": []}
    assert second == {"source": "", "target": "", "score": 0.0, "alternatives": []}
