"""`numformer evaluate`, `numformer info` and the help, for every task."""

import csv
import dataclasses
import json
import re

import pytest

from numformer.cli import attention, evaluate, predict
from numformer.cli.info import Info
from numformer.cli.shared import train_options
from numformer.tasks import TABLE

SCORES = {
    "mlm": {"loss", "perplexity", "accuracy", "tokens"},
    "seq2seq": {"loss", "exact_match", "count"},
    "summarise": {"loss", "exact_match", "count"},
    "classify": {"loss", "accuracy", "macro_f1", "classes", "confusion", "count"},
    "regress": {"loss", "mean_squared_error", "pearson", "spearman", "count"},
    "tag": {"loss", "accuracy", "sentences", "words", "precision", "recall", "f1", "types"},
    "qa": {"exact_match", "f1", "total"},
}
COUNT = {"mlm": "tokens", "seq2seq": "count", "summarise": "count", "classify": "count", "tag": "sentences"}
COUNT["regress"] = "count"
OPTIONS_OF = {
    "max-windows": (3, {"mlm"}),
    "max-examples": (3, {"seq2seq", "summarise"}),
    "num-beams": (2, {"seq2seq", "summarise"}),
    "length-penalty": (0.5, {"seq2seq", "summarise"}),
    "confusion-matrix": ("matrix.png", {"classify"}),
    "errors": ("wrong.csv", {"seq2seq", "summarise", "classify", "regress", "tag", "qa"}),
}
DATA_OF = {
    **{"classify": "reviews.csv", "regress": "prices.csv", "seq2seq": "pairs.tsv", "tag": "ner.conll"},
    "qa": "squad.json",
}
HELD_OUT = 2  # of 24 examples


def scores(result):
    """Return the one object that was printed; on stderr stands what was understood of the data."""
    assert result.status == 0, result
    assert result.out.count("\n") == 1
    assert "numformer: " not in result.err
    return json.loads(result.out)


@pytest.mark.parametrize("task", SCORES)
@pytest.mark.parametrize("part", ["", "best"])
def test_a_run_and_its_best_are_measured_on_what_was_held_out(runs_of_tasks, numformer, task, part):
    found = scores(numformer("evaluate", runs_of_tasks(task) / part))
    assert found.keys() >= SCORES[task]
    if task in COUNT and task != "mlm":
        assert found[COUNT[task]] == HELD_OUT
    lines = [json.loads(line) for line in (runs_of_tasks(task) / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "val_loss" in line]
    line = (
        measured[-1]
        if part == ""
        else min(measured, key=lambda line: (-line.get("val_f1", line.get("val_accuracy", 0.0)), line["val_loss"]))
    )
    for name in {"loss", "accuracy", "f1"} & found.keys() & {name.removeprefix("val_") for name in line}:
        assert found[name] == pytest.approx(line[f"val_{name}"], rel=1e-4)


@pytest.mark.parametrize(
    ("task", "data", "count"),
    [
        *[("mlm", "text.txt", None), ("seq2seq", "pairs.jsonl", 24), ("summarise", "pairs.tsv", 24)],
        *[("classify", "reviews", 24), ("classify", "reviews.tsv", 24), ("tag", "ner.conll", 24)],
        ("regress", "prices.jsonl", 24),
        ("qa", "squad.json", 24),
    ],
)
def test_a_model_is_measured_on_a_file(examples, runs_of_tasks, numformer, task, data, count):
    found = scores(numformer("evaluate", runs_of_tasks(task), "--data", data))
    assert found.keys() >= SCORES[task]
    if count:
        assert found[COUNT.get(task, "total")] == count


@pytest.mark.parametrize("task", SCORES)
@pytest.mark.parametrize("option", OPTIONS_OF)
def test_options_are_for_their_tasks_alone(here, runs_of_tasks, numformer, refused, task, option):
    value, tasks = OPTIONS_OF[option]
    words = ["evaluate", runs_of_tasks(task), f"--{option}", value]
    if task in tasks:
        assert scores(numformer(*words)).keys() >= SCORES[task]
    else:
        refused(lambda: numformer(*words), f"--{option} is not for {runs_of_tasks(task)}, whose task is {task}")


def test_the_options_change_what_is_measured(examples, runs_of_tasks, numformer):
    (examples / "one.tsv").write_text("Ann sees the cat.\tANN SEES THE CAT.\n" * 5)
    words = ["evaluate", runs_of_tasks("seq2seq"), "--data", "one.tsv"]
    assert scores(numformer(*words, "--max-examples", 3))["count"] == 3
    words = ["evaluate", runs_of_tasks("mlm"), "--data", "text.txt"]
    assert scores(numformer(*words, "--max-windows", 3))["tokens"] < scores(numformer(*words))["tokens"]


def test_a_file_in_another_encoding_is_measured_when_that_is_named(examples, runs_of_tasks, numformer, refused):
    (examples / "latin.csv").write_bytes("text,label\nZoé,pos\n".encode("latin-1"))
    words = ["evaluate", runs_of_tasks("classify"), "--data", "latin.csv"]
    refused(lambda: numformer(*words), "latin.csv, line 2: byte 0xe9 is not utf-8 text; try --encoding cp1252")
    assert scores(numformer(*words, "--encoding=latin-1"))["count"] == 1
    refused(
        lambda: numformer("evaluate", runs_of_tasks("mlm"), "--data=text.txt", "--label=stars"),
        "--label is not for ",
    )
    refused(
        lambda: numformer("evaluate", runs_of_tasks("classify"), "--encoding=latin-1"),
        "--encoding says how to read a file: name it with --data",
    )


def test_malformed_rows_are_refused_or_left_out_of_what_is_measured(examples, runs_of_tasks, numformer, refused):
    (examples / "bad.csv").write_text("text,label\nZoe,pos\nAnn\nTom,neg\n")
    words = ["evaluate", runs_of_tasks("classify"), "--data=bad.csv"]
    refused(lambda: numformer(*words), "bad.csv, line 3: got 1 column, expected 2 as in the header (--skip-bad leaves")
    assert scores(numformer(*words, "--skip-bad"))["count"] == 2
    refused(lambda: numformer(*words[:2], "--skip-bad"), "--skip-bad says how to read a file: name it with --data")


def test_a_file_with_other_columns_is_measured_when_they_are_named(examples, runs_of_tasks, numformer):
    (examples / "other.csv").write_text("review,stars,day\nZoe,pos,3\n")
    words = ["evaluate", runs_of_tasks("classify"), "--data=other.csv", "--text=review", "--label=stars"]
    assert scores(numformer(*words))["count"] == 1
    (examples / "other.tsv").write_text("review\tstars\tday\nZoe\t4.5\t3\n")
    words = ["evaluate", runs_of_tasks("classify"), "--data=other.csv", "--text", "day", "review", "--label=stars"]
    assert scores(numformer(*words))["count"] == 1
    words = ["evaluate", runs_of_tasks("regress"), "--data=other.tsv", "--text=review", "--value=stars"]
    assert scores(numformer(*words))["count"] == 1
    words = ["evaluate", runs_of_tasks("classify"), "--data=two.csv", "--label=stars", "--text", "title", "review"]
    (examples / "two.csv").write_text("title,review,stars\nZoe,,pos\n,Ann,neg\n,,neg\n")
    assert scores(numformer(*words))["count"] == 2
    (examples / "other.jsonl").write_text(json.dumps({"en": "Ann.", "de": "ANN."}) + "\n")
    words = ["evaluate", runs_of_tasks("seq2seq"), "--data=other.jsonl", "--source=en", "--target=de"]
    assert scores(numformer(*words))["count"] == 1


def test_a_column_file_is_measured_by_the_columns_that_are_named(examples, runs_of_tasks, numformer):
    (examples / "other.conll").write_text("x O Ann B-PER\ny O sees O\n")
    words = ["evaluate", runs_of_tasks("tag"), "--data=other.conll", "--column=4", "--word-column=3"]
    assert scores(numformer(*words))["types"]["PER"]["support"] == 1


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        (
            "classify",
            "text,label\nhello,pos\nbye,strange\n",
            "1 of 2 labels are unknown to the model and count as wrong: ",
        ),
        ("tag", "Ann B-PER\nin O\nOslo strange\n", "1 of 3 tags are unknown to the model and count as wrong: "),
    ],
)
def test_a_label_that_the_model_does_not_know_is_said_and_measuring_goes_on(
    here, runs_of_tasks, numformer, task, text, said
):
    (here / "new.csv").write_text(text)
    result = numformer("evaluate", runs_of_tasks(task), "--data", "new.csv")
    assert result.status == 0
    assert result.err.splitlines()[-1] == f"{said}'strange' (1)"
    assert json.loads(result.out)["accuracy"] < 1


def test_the_confusion_matrix_is_drawn_as_png(here, runs_of_tasks, numformer):
    scores(numformer("evaluate", runs_of_tasks("classify"), "--confusion-matrix", "new/matrix.png"))
    assert (here / "new" / "matrix.png").read_bytes().startswith(b"\x89PNG\r\n")


# Wrong examples.


def wrong_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", ["classify", "regress", "seq2seq", "tag", "qa"])
def test_the_wrong_examples_are_written_with_gold_and_predicted(examples, runs_of_tasks, numformer, task):
    words = ["evaluate", runs_of_tasks(task), "--data", examples / DATA_OF[task], "--errors"]
    found = scores(result := numformer(*words, "wrong.csv"))
    rows = wrong_rows(examples / "wrong.csv")
    said = f"{len(rows)} examples, by difference" if task == "regress" else f"{len(rows)} wrong, by score"
    assert f"wrong.csv: {said}\n" in result.err
    if task == "classify":
        assert len(rows) == round((1 - found["accuracy"]) * 24)
    if task == "tag":
        assert len(rows) == round((1 - found["accuracy"]) * found["words"])
    if task in ("seq2seq", "qa"):
        share = found["exact_match"] / (100 if task == "qa" else 1)
        assert len(rows) == round((1 - share) * 24)
    assert rows
    assert all(row["gold"] != row["predicted"] for row in rows)
    worst = [float(row["difference" if task == "regress" else "score"]) for row in rows]
    assert worst == sorted(worst, reverse=True)
    assert scores(numformer(*words, "wrong.jsonl")) == found
    assert len((examples / "wrong.jsonl").read_text().splitlines()) == len(rows)


def test_a_file_of_wrong_examples_replaces_another_only_when_that_is_said(here, runs_of_tasks, numformer, refused):
    (here / "wrong.csv").write_text("mine")
    words = ["evaluate", runs_of_tasks("classify"), "--errors"]
    refused(lambda: numformer(*words, "wrong.csv"), "wrong.csv exists: choose another file, or replace it with")
    refused(lambda: numformer(*words, "wrong.txt"), "a table is written to a .csv, .tsv or .jsonl file, got wrong.txt")
    assert numformer(*words, "wrong.csv", "--overwrite").status == 0
    assert (here / "wrong.csv").read_text().startswith("place,text,gold,predicted,score\n")


def test_scores_on_a_terminal_are_tables(runs_of_tasks, numformer, monkeypatch):
    monkeypatch.setattr("numformer.cli.evaluate._is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    lines = numformer("evaluate", runs_of_tasks("classify")).out.splitlines()
    assert lines[0].split()[0] == "loss"
    assert any(line.split() == ["classes", "precision", "recall", "f1", "support"] for line in lines)
    assert max(map(len, lines)) <= 50


# Descriptions.


@pytest.mark.parametrize(
    ("task", "model", "shape"),
    [
        ("mlm", "MaskedLM, ", "1 layer, width 16, 2 heads, d_ff 64"),
        ("seq2seq", "Transformer, ", "1 encoder and 1 decoder layer, width 16, 2 heads, d_ff 64"),
        ("summarise", "Transformer, ", "1 encoder and 1 decoder layer, width 16, 2 heads, d_ff 64"),
        ("classify", "SequenceClassifier, ", "1 layer, width 16, 2 heads, d_ff 64"),
        ("regress", "SequenceRegressor, ", "1 layer, width 16, 2 heads, d_ff 64"),
        ("tag", "TokenClassifier, ", "1 layer, width 16, 2 heads, d_ff 64"),
        ("qa", "SpanClassifier, ", "1 layer, width 16, 2 heads, d_ff 64"),
    ],
)
def test_info_describes_a_run_of_every_task(runs_of_tasks, numformer, task, model, shape):
    result = numformer("info", runs_of_tasks(task))
    assert (result.status, result.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert rows["task"] == task
    assert rows["model"].startswith(model)
    assert rows["shape"] == shape
    assert rows["context"] == "32 tokens"
    assert rows["training"].startswith("4 steps in ")
    assert rows["validation"].startswith("best ")
    assert "model.safetensors (" in rows["files"]
    assert rows.get("labels") == {"classify": "2: neg, pos", "tag": "2: B-PER, O"}.get(task)
    assert ("numbers" in rows) == (task == "regress")
    best = numformer("info", runs_of_tasks(task) / "best").out
    assert "training" not in best
    assert rows["model"] in best


def test_info_names_one_tokenizer_once_and_two_twice(train_task, runs_of_tasks, numformer):
    assert numformer("info", runs_of_tasks("seq2seq")).out.count("SubwordTokenizer") == 1
    train_task("seq2seq", "--separate-vocabularies")
    assert numformer("info", "run").out.count("SubwordTokenizer") == 2


@pytest.mark.parametrize("task", SCORES)
def test_info_lists_layers_when_asked(runs_of_tasks, numformer, task):
    assert numformer("info", runs_of_tasks(task), "--layers").out.count("Linear(") > 3


# Help.


def names_of(options_class, prefix=""):
    """Yield the options of a class and of the classes in it, as they are written on the command line."""
    default = options_class() if prefix == "" and hasattr(options_class, "train") else None
    for field in dataclasses.fields(options_class):
        value = getattr(default, field.name, None)
        if dataclasses.is_dataclass(value):
            yield from names_of(type(value), f"{field.name}.")
        elif field.name not in ("run", "text", "texts", "groups"):  # groups stand in a file alone, as --config says
            yield f"--{prefix}{'from' if field.name == 'pretrained' else field.name}".replace("_", "-")


@pytest.mark.parametrize(
    ("command", "options_class"),
    [
        *[(f"train {task}", train_options.options_class(task)) for task in TABLE],
        *[(command, predict.options_class(command)) for command in ("predict", "translate")],
        *[("evaluate", evaluate.options_class()), ("attention", attention.options_class()), ("info", Info)],
    ],
)
def test_help_lists_every_option_with_a_text(numformer, command, options_class):
    result = numformer(*command.split(), "--help")
    assert (result.status, result.err) == (0, "")
    names = list(names_of(options_class))
    assert len(names) > (20 if command.startswith("train") else 0)
    for name in names:
        assert re.search(rf"(?m)^[^-\w]*{name}[ ,]", result.out), name
