"""`numformer train TASK` from beginning to end, on every format that a task reads."""

import json
import shlex
import signal
import tomllib

import numpy as np
import pytest

from numformer.cli.train import _read
from numformer.pretrained import load_model
from numformer.tokenizers import load_tokenizer
from numformer.training import trainer

TASKS = ["mlm", "seq2seq", "summarise", "classify", "regress", "tag", "qa"]
FORMATS = [
    *[("mlm", "text.txt"), ("seq2seq", "pairs.tsv"), ("seq2seq", "pairs.jsonl"), ("summarise", "news.jsonl")],
    *[("summarise", "pairs.tsv"), ("classify", "reviews.csv"), ("classify", "reviews.tsv")],
    *[("classify", "reviews.jsonl"), ("classify", "reviews"), ("classify", "polarity")],
    *[("regress", "prices.csv"), ("regress", "prices.tsv"), ("regress", "prices.jsonl")],
    *[("tag", "ner.conll"), ("tag", "ud.conllu"), ("qa", "squad.json")],
]
FILES = {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "run.toml", "curves.png"}
WEIGHTS = ("model.safetensors", "best/model.safetensors", "state/checkpoint.safetensors")
MORE_STEPS = ("--resume", "--train.steps=6")
CONSTANT = {"optim__schedule": "constant"}  # the others depend on the number of steps


def weights_of(folder):
    return {name: parameter.data for name, parameter in load_model(folder).named_parameters()}


@pytest.fixture
def same_bytes(examples):
    """Check that two runs left the same weights, optimizer and tokenizer."""

    def check(one, other, files=(*WEIGHTS, "tokenizer.json")):
        for name in files:
            assert (examples / one / name).read_bytes() == (examples / other / name).read_bytes(), name

    return check


# Data and what is left of it.


@pytest.mark.parametrize(("task", "data"), FORMATS)
def test_every_format_is_trained_on_and_leaves_a_run(examples, train_task, task, data):
    result = train_task(task, data=data)
    assert (result.status, result.out) == (0, "")
    assert "finished after 4 steps" in result.err
    assert "best on held-out data: " in result.err
    assert {path.name for path in (examples / "run").iterdir()} == FILES | {"best", "state"}
    best = {path.name for path in (examples / "run" / "best").iterdir()}
    assert best == {"config.json", "model.safetensors", "tokenizer.json"}
    lines = [json.loads(line) for line in (examples / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_loss" in line] == [2, 4]
    assert tomllib.loads((examples / "run" / "run.toml").read_text())["task"] == task
    if task == "classify":
        assert load_model(examples / "run").labels == ["neg", "pos"]


@pytest.mark.parametrize(
    ("column", "labels"),
    [(None, ["PROPN", "PUNCT", "X"]), ("xpos", ["P", "X"]), ("5", ["P", "X"]), ("ner", ["B-PER", "O"])],
)
def test_the_column_of_the_tags_is_chosen(examples, train_task, column, labels):
    assert train_task("tag", data="ud.conllu", column=column).status == 0
    assert load_model(examples / "run").labels == labels


def test_what_was_understood_of_a_column_file_is_said_before_training(examples, train_task):
    row = "# sent_id = {0}\n1\tLars\tB-PER\t-\n2\tbor\tO\t-\n{1}\n"
    (examples / "da.iob2").write_text("".join(row.format(n, "x" if n == 7 else "") for n in range(20)))
    result = train_task("tag", "--skip-bad", data="da.iob2", valid_fraction=0)
    assert result.status == 0
    said = result.err.splitlines()[0]
    assert said.startswith("da.iob2: 20 sentences; words from column 2, tags from column 3; 1 left out (1 malformed")
    assert said.endswith("; entities in BIO")


def test_a_column_file_is_trained_on_by_the_columns_that_are_named(examples, train_task):
    (examples / "two.txt").write_text("O\tAnn\tB-PER\nO\tsees\tO\n\n" * 10)
    assert train_task("tag", data="two.txt", word_column=2, column=3, valid_fraction=0).status == 0
    assert load_model(examples / "run").labels == ["B-PER", "O"]
    assert tomllib.loads((examples / "run" / "run.toml").read_text())["word_column"] == "2"


def test_the_best_of_a_tagger_of_entities_is_by_f1(examples, train_task):
    assert train_task("tag").status == 0
    lines = [json.loads(line) for line in (examples / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all({"val_loss", "val_accuracy", "val_f1"} <= line.keys() for line in lines if "val_loss" in line)


def test_the_columns_of_text_and_label_are_chosen(examples, train_task):
    (examples / "my.csv").write_text("id,stars,body\n" + "".join(f"{i},{'ab'[i % 2]},text {i}\n" for i in range(20)))
    assert train_task("classify", data="my.csv", text="body", label="stars").status == 0
    assert load_model(examples / "run").labels == ["a", "b"]


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_several_columns_of_text_are_joined_and_the_run_remembers_them(examples, train_task, numformer, task):
    header = f"subject;body;{'label' if task == 'classify' else 'value'}"
    rows = [f"Ann {i};{'' if i % 3 else 'sees'};{i % 2}" for i in range(20)]
    (examples / "my.csv").write_text("\n".join([header, *rows, ";;1", "cut"]) + "\n")
    result = train_task(task, "--text", "subject", "body", "--skip-bad", data="my.csv")
    assert result.status == 0
    assert (
        "my.csv: 22 rows; columns between semicolons; 2 left out (1 blank text, first at line 22; 1 malf" in result.err
    )
    settings = tomllib.loads((examples / "run" / "run.toml").read_text())
    assert (settings["text"], settings["skip_bad"]) == (["subject", "body"], True)
    assert json.loads(numformer("evaluate", "run", "--data=my.csv").out)["count"] == 20


def test_a_single_column_of_text_in_a_file_of_options_may_stand_without_brackets(examples, train_task):
    (examples / "my.csv").write_text("label,body,id\n" + "".join(f"{'ab'[i % 2]},text {i},{i}\n" for i in range(20)))
    (examples / "my.toml").write_text('text = "body"\n')
    assert train_task("classify", data="my.csv", config="my.toml").status == 0
    assert tomllib.loads((examples / "run" / "run.toml").read_text())["text"] == ["body"]


@pytest.mark.parametrize("task", ["lm", "mlm"])
def test_a_text_in_another_encoding_is_read_and_the_run_remembers_it(examples, numformer, task):
    (examples / "wide.txt").write_text("Zoë sees the cat.\n" * 50, encoding="utf-16-le")
    shape = ["--model.d-model=16", "--model.num-heads=2", "--model.num-layers=1", "--model.max-seq-len=8"]
    words = ["train", task, "--data=wide.txt", "--out=run", "--train.steps=2", "--train.shards=1", *shape]
    refused = numformer(*words)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "looks like UTF-16 without a byte order mark; try --encoding utf-16-le" in refused.err
    assert numformer(*words, "--encoding=utf-16-le", *(["--sample=0"] if task == "lm" else [])).status == 0
    assert load_tokenizer(examples / "run").decode(load_tokenizer(examples / "run").encode("ë")) == "ë"
    assert numformer("evaluate", "run").status == 0


def test_the_keys_of_source_and_target_are_chosen(train_task):
    assert train_task("seq2seq", data="news.jsonl", source="document", target="summary").status == 0


def test_another_encoding_is_read_when_it_is_named(examples, train_task):
    (examples / "latin.tsv").write_bytes("".join(f"café {i}\tcoffee {i}\n" for i in range(9)).encode("latin-1"))
    assert train_task("seq2seq", data="latin.tsv", encoding="latin-1").status == 0


def test_a_generated_task_needs_no_file(examples, train_task):
    words = {"data": "toy:reverse", "out": None, "toy_examples": 50, "train__eval_examples": 10}
    assert train_task("seq2seq", **words).status == 0
    settings = tomllib.loads((examples / "runs" / "toy-reverse" / "run.toml").read_text())
    assert (settings["data"], settings["toy_examples"]) == ("toy:reverse", 50)


@pytest.mark.parametrize(("data", "name"), [(".", "polarity"), ("../polarity", "polarity"), ("..", None)])
def test_a_folder_of_data_gives_the_run_its_name(examples, train_task, monkeypatch, data, name):
    within = examples / "polarity" if name else examples / "reviews" / "neg"
    monkeypatch.chdir(within)
    assert train_task("classify", data=data, out=None).status == 0
    assert (within / "runs" / (name or "reviews") / "run.toml").exists()
    assert not (within / "run.toml").exists()


def test_a_file_of_held_out_examples_is_validated_on(examples, train_task, numformer):
    lines = (examples / "reviews.tsv").read_text().splitlines()
    (examples / "valid.tsv").write_text("\n".join(lines[:6]) + "\n")
    assert train_task("classify", data="reviews.tsv", valid="valid.tsv").status == 0
    assert json.loads(numformer("evaluate", "run").out)["count"] == 5


def test_nothing_held_out_means_no_best_model(examples, train_task):
    result = train_task("classify", valid_fraction=0)
    assert result.status == 0
    assert "validation" not in result.err
    assert not (examples / "run" / "best").exists()


@pytest.mark.parametrize("task", TASKS)
def test_no_steps_leave_an_untrained_model(examples, train_task, numformer, task):
    assert train_task(task, train__steps=0).status == 0
    assert numformer("info", "run").status == 0


def test_answers_that_do_not_stand_where_they_should_are_counted_and_left_out(examples, train_task):
    squad = json.loads((examples / "squad.json").read_text())
    for paragraph in squad["data"][0]["paragraphs"][:3]:
        paragraph["qas"][0]["answers"][0]["answer_start"] += 1
    (examples / "squad.json").write_text(json.dumps(squad))
    result = train_task("qa")
    assert result.status == 0
    assert (
        "squad.json: 48 questions; 27 left out (3 misplaced answer, first at data[0].paragraphs[0].qas[0]; "
        in result.err
    )
    assert "24 without an answer, while no_answer is off, first at data[0]" in result.err
    assert "21 with an answer, 24 without" in train_task("qa", "--no-answer", "--overwrite").err


# Settings.


@pytest.mark.parametrize("task", TASKS)
def test_run_toml_repeats_the_run_to_the_same_bytes(train_task, numformer, same_bytes, task):
    train_task(task, model__dropout=0.2, optim__schedule="linear", train__seed=3)
    assert numformer("train", task, "--config=run/run.toml", "--out=again").status == 0
    same_bytes("run", "again", (*WEIGHTS, "tokenizer.json", "run.toml"))


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_resumed_to_the_bytes_of_one_that_was_never_stopped(train_task, numformer, same_bytes, task):
    train_task(task, **CONSTANT)
    assert numformer("train", task, "--out=run", *MORE_STEPS).status == 0
    train_task(task, out="whole", train__steps=6, **CONSTANT)
    same_bytes("run", "whole")


def test_a_recipe_gives_the_data_the_shape_and_the_training(examples, numformer):
    (examples / "my.toml").write_text(
        'task = "classify"\ndata = "reviews.jsonl"\nfreeze = ["backbone.embeddings"]\nclass_weights = true\n'
        "[model]\nd_model = 8\nnum_heads = 2\n[train]\nsteps = 2\nbatch_size = 4\nshards = 1\n"
    )
    assert numformer("train", "classify", "--config=my.toml", "--train.steps=1").status == 0
    settings = tomllib.loads((examples / "runs" / "reviews" / "run.toml").read_text())
    assert (settings["model"]["d_model"], settings["train"]["steps"]) == (8, 1)
    assert (settings["freeze"], settings["class_weights"]) == (["backbone.embeddings"], True)


@pytest.mark.parametrize(("words", "expected"), [((), True), (("--no-answer",), True), (("--no-no-answer",), False)])
def test_the_command_line_may_repeat_and_undo_what_a_file_turns_on(examples, train_task, words, expected):
    (examples / "my.toml").write_text("no_answer = true\n[train]\nrecompute = true\n")
    recompute = ("--train.recompute",) if expected else ("--train.no-recompute",)
    assert train_task("qa", *words, *recompute, config="my.toml", train__steps=1).status == 0
    settings = tomllib.loads((examples / "run" / "run.toml").read_text())
    assert (settings["no_answer"], settings["train"]["recompute"]) == (expected, expected)


@pytest.mark.parametrize("task", ["mlm", "classify"])
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(train_task, numformer, same_bytes, monkeypatch, task):
    append = trainer.append_metrics

    def interrupt(file, line):
        if line["step"] == 2:  # which ends before anybody looks, so that step 3 is the last one
            signal.raise_signal(signal.SIGINT)
        append(file, line)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "append_metrics", interrupt)
        result = train_task(task, out="my run")
    assert result.status == 130
    message = f"stopped at step 3 with a checkpoint; continue with: numformer train {task} --out 'my run' --resume"
    assert result.err.splitlines()[-1] == message
    assert numformer(*shlex.split(message.partition("numformer ")[2])).status == 0
    train_task(task, out="whole")
    same_bytes("my run", "whole")


def test_overwrite_puts_a_run_of_another_task_in_the_place_of_one(examples, train_task):
    train_task("seq2seq", "--separate-vocabularies")
    (examples / "run" / "notes.txt").write_text("mine")
    assert train_task("tag", "--overwrite").status == 0
    assert {path.name for path in (examples / "run").iterdir()} == FILES | {"best", "state", "notes.txt"}
    assert type(load_model(examples / "run")).__name__ == "TokenClassifier"


# Starting from another model.

PRETRAINED = [("classify", "mlm"), ("tag", "mlm"), ("qa", "mlm"), ("tag", "classify"), ("mlm", "mlm")]


@pytest.mark.parametrize(("task", "base"), [*PRETRAINED, ("seq2seq", "summarise"), ("classify", "classify")])
def test_training_starts_from_the_weights_and_the_tokenizer_of_another_model(
    examples, train_task, runs_of_tasks, task, base
):
    assert train_task(task, **{"from": runs_of_tasks(base), "optim__lr": 0, "optim__weight_decay": 0}).status == 0
    before, after = weights_of(runs_of_tasks(base)), weights_of(examples / "run")
    shared = [name for name in after if name in before and before[name].shape == after[name].shape]
    assert any(".layers." in name for name in shared)
    for name in shared:
        same = np.array_equal(before[name], after[name])
        assert same or (task != base and name.startswith("head."))
    saved = [json.loads((folder / "tokenizer.json").read_text()) for folder in (runs_of_tasks(base), examples / "run")]
    assert saved[0] == saved[1]


def test_frozen_parts_stay_as_they_were_and_others_learn(examples, train_task, runs_of_tasks):
    base = runs_of_tasks("mlm")
    words = {"from": base, "freeze": "backbone.embeddings", "optim__lr": 0.1}
    assert train_task("classify", **words).status == 0
    before, after = weights_of(base), weights_of(examples / "run")
    for name in before.keys() & after.keys():
        frozen = name.startswith("backbone.embeddings.")
        assert np.array_equal(before[name], after[name]) is frozen, name


@pytest.mark.parametrize("task", ["mlm", "classify"])
def test_a_run_that_started_from_another_model_is_repeated_and_resumed(
    train_task, numformer, runs_of_tasks, same_bytes, task
):
    words = {"from": runs_of_tasks("mlm"), "freeze": "backbone.embeddings"} | CONSTANT
    train_task(task, **words)
    assert numformer("train", task, "--config=run/run.toml", "--out=again").status == 0
    same_bytes("run", "again", (*WEIGHTS, "tokenizer.json", "run.toml"))
    assert numformer("train", task, "--out=run", *MORE_STEPS).status == 0
    train_task(task, out="whole", train__steps=6, **words)
    same_bytes("run", "whole")


@pytest.mark.parametrize(
    ("task", "words", "max_sequences", "tokens"),
    [
        ("seq2seq", [], None, 4096),
        ("seq2seq", ["--train.batch-size=8"], 8, 4096),
        ("seq2seq", ["--train.batch-tokens=None"], 32, None),
        ("classify", [], 32, None),
        ("classify", ["--train.batch-tokens=99"], None, 99),
        ("classify", ["--train.batch-size=8", "--train.batch-tokens=99"], 8, 99),
    ],
)
def test_a_batch_is_bounded_by_what_is_given_and_by_32_examples_when_nothing_is(task, words, max_sequences, tokens):
    train = _read(f"train {task}", task, words).train
    assert (train.max_sequences, train.batch_tokens) == (max_sequences, tokens)


def test_a_task_goes_by_other_words_too(examples, numformer):
    shape = ["--model.d-model=8", "--model.num-heads=2", "--train.steps=2", "--train.batch-size=4"]
    assert numformer("train", "text-classification", "--data=reviews.csv", "--out=run", *shape).status == 0
    assert tomllib.loads((examples / "run" / "run.toml").read_text())["task"] == "classify"
