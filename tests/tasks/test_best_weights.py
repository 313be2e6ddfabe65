"""The weights that did best on held-out data are those that answer, in Python and in the commands."""

import json
import shutil

import numpy as np
import pytest

from numformer import Classifier, InputError, LanguageModel, Regressor, Tagger, Translator, load
from numformer.cli.main import main
from numformer.data.tagged.conll import TaggedSentence
from numformer.tasks.classification import ClassifyObjective
from numformer.tasks.language_model import LanguageModelObjective
from numformer.training import RunFolder
from numformer.training.answering import step_of
from numformer.training.metrics import best_of, read_metrics

WORDS = ["red", "two", "cat", "oak", "tea", "sea", "sun", "day"]
SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "valid_fraction": 0.3}
TEXTS = [(f"{a} {b}", "xyz"[(i + j) % 3]) for i, a in enumerate(WORDS) for j, b in enumerate(WORDS[:4])]
BOTH = {"num_encoder_layers": 1, "num_decoder_layers": 1, "tokenizer": "characters"}
MAKE = {
    "lm": lambda: LanguageModel.from_text("the cat sat on the mat.\nthe dog ran to the hat.\n" * 8, **SMALL),
    "classify": lambda: Classifier.from_data(TEXTS, **SMALL),
    "weighted": lambda: Classifier.from_data(TEXTS, class_weights=True, **SMALL),
    "regress": lambda: Regressor.from_data([(text, float(len(text))) for text, _ in TEXTS], **SMALL),
    "tag": lambda: Tagger.from_data(
        [TaggedSentence([a, b], ["D", "N"]) for a in WORDS for b in WORDS if a != b], **SMALL
    ),
    "seq2seq": lambda: Translator.from_data(
        [(f"{a} {b}", b[::-1]) for a in WORDS for b in WORDS[:4]],
        **{k: v for k, v in SMALL.items() if k[:5] != "num_l"},
        **BOTH,
    ),
}
FAST = {"steps": 8, "batch_size": 6, "shards": 2, "eval_every": 2, "progress": False}


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr("numformer.tasks.shared.task.draw_curves", lambda lines, path, unit: path.write_bytes(b""))


def scripted(monkeypatch, objective, figures):
    rest = iter(figures)
    monkeypatch.setattr(objective, "evaluate", lambda self, workers: next(rest))


def weights(task):
    return {name: value.copy() for name, value in task.model.state_dict().items()}


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train a language model of eight steps whose step 4 is said to be the best; return it and its folder."""
    with monkeypatch.context() as patch:
        scripted(patch, LanguageModelObjective, [{"loss": loss} for loss in (3.0, 1.25, 2.0, 1.5)])
        lm = MAKE["lm"]()
        result = lm.fit(out=tmp_path / "run", **FAST)
    assert (result.step, result.best_step, result.best) == (8, 4, {"loss": 1.25})
    return lm, tmp_path / "run"


@pytest.mark.parametrize("with_folder", [True, False])
@pytest.mark.parametrize("name", MAKE)
def test_after_fit_a_task_measures_what_the_result_says_is_best(name, with_folder, tmp_path):
    task = MAKE[name]()
    smoothing = {} if name == "regress" else {"label_smoothing": 0.1}
    out = {"out": tmp_path / "run"} if with_folder else {}
    result = task.fit(lr=0.03, **smoothing, **out, **FAST)
    found = task.evaluate()
    shared = result.best.keys() & found.keys()
    assert "loss" in shared
    for figure in shared:
        assert found[figure] == pytest.approx(result.best[figure], rel=1e-5), figure


def test_the_best_weights_are_those_of_the_step_that_was_best(run):
    lm, folder = run
    four, eight = MAKE["lm"](), MAKE["lm"]()
    four.fit(**FAST | {"steps": 4, "eval_every": 4})
    eight.fit(**FAST | {"eval_every": 8})
    for best in (lm, load(folder), load(folder / "best"), LanguageModel.load(folder)):
        assert same(weights(best), weights(four))
    for last in (load(folder, last=True), LanguageModel.load(folder, last=True)):
        assert same(weights(last), weights(eight))


def test_a_resumed_run_goes_on_from_its_last_weights(run, tmp_path, monkeypatch):
    lm, folder = run
    figures = [{"loss": loss} for loss in (3.0, 1.25, 2.0, 1.5, 1.75, 1.6)]
    scripted(monkeypatch, LanguageModelObjective, figures[4:])
    lm.fit(out=folder, resume=True, **FAST | {"steps": 12})
    scripted(monkeypatch, LanguageModelObjective, figures)
    MAKE["lm"]().fit(out=tmp_path / "whole", **FAST | {"steps": 12})
    for name in ("model.safetensors", "best/model.safetensors", "state/checkpoint.safetensors", "run.toml"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert same(weights(lm), weights(load(folder / "best")))


def test_a_run_without_held_out_data_keeps_its_last_weights(tmp_path):
    task = Classifier.from_data(TEXTS, **SMALL | {"valid_fraction": 0.0})
    result = task.fit(out=tmp_path / "run", **FAST)
    assert (result.best, result.best_step) == ({}, 0)
    assert not (tmp_path / "run" / "best").exists()
    assert same(weights(load(tmp_path / "run")), weights(task))
    assert same(weights(load(tmp_path / "run", last=True)), weights(task))


def test_the_last_weights_are_not_asked_of_best(run):
    _, folder = run
    with pytest.raises(InputError, match=r"run/best holds the best weights: the last ones are those of .*run$"):
        load(folder / "best", last=True)


def test_training_starts_from_the_best_weights_of_a_run(run):
    lm, folder = run
    started = LanguageModel.from_text("the cat sat.\n" * 9, pretrained=folder)
    assert same(weights(started), weights(lm))


def test_metrics_say_which_evaluation_was_best_at_the_time_and_by_what(tmp_path, monkeypatch):
    figures = [(0.5, 0.4), (0.9, 0.8), (0.7, 0.8), (0.1, 0.6)]
    scripted(monkeypatch, ClassifyObjective, [{"loss": loss, "accuracy": accuracy} for loss, accuracy in figures])
    task = MAKE["classify"]()
    result = task.fit(out=tmp_path / "run", **FAST)
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "val_loss" in line]
    assert [line.get("best") for line in lines] == ["val_accuracy", "val_accuracy", "val_accuracy", None]
    assert best_of(lines) == (6, "accuracy", 0.8)
    assert (result.best_step, result.criterion, result.best["accuracy"]) == (6, "accuracy", 0.8)


# The commands.

LINE = "{0}: the weights of step 4, the best (val_loss 1.250); --last takes those of step 8\n"


def call(capsys, *words):
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("command", "words"),
    [("generate", ["--max-new-tokens=9"]), ("evaluate", []), ("info", []), ("attention", ["the cat", "--out=a.png"])],
)
def test_a_command_says_which_weights_it_has_and_takes_others(command, words, run, tmp_path, monkeypatch, capsys):
    _, folder = run
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat.\n")
    words = [*words, "--data=text.txt"] if command == "evaluate" else words
    status, best, err = call(capsys, command, folder, *words)
    assert (status, err.startswith(LINE.format(folder))) == (0, True), err
    status, last, err = call(capsys, command, folder, *words, "--last")
    assert (status, "the weights of step" in err) == (0, False)
    status, same_as_best, err = call(capsys, command, folder / "best", *words)
    assert (status, "the weights of step" in err) == (0, False)
    if command == "evaluate":
        assert best == same_as_best != last


def test_predict_and_translate_answer_with_the_best_weights(tmp_path, monkeypatch, capsys):
    task = MAKE["seq2seq"]()
    monkeypatch.setattr(type(task.objective(task.train_config)), "evaluate", lambda self, workers: next(rest))
    rest = iter([{"loss": 1.0, "accuracy": 0.5}] * 4)
    task.fit(out=tmp_path / "run", **FAST | {"lr": 0.03})
    capsys.readouterr()
    for command in ("predict", "translate"):
        status, best, err = call(capsys, command, tmp_path / "run", "red two")
        assert (status, err.startswith(f"{tmp_path / 'run'}: the weights of step 2, the best (val_loss 1.000)")) == (
            0,
            True,
        )
        assert call(capsys, command, tmp_path / "run" / "best", "red two") == (0, best, "")
        status, last, err = call(capsys, command, tmp_path / "run", "red two", "--last")
        assert (status, err) == (0, "")
        if command == "predict":
            assert json.loads(last)["score"] != json.loads(best)["score"]


def test_starting_from_a_run_says_which_weights_are_taken(run, tmp_path, monkeypatch, capsys):
    _, folder = run
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat.\n" * 9)
    words = ("--data=text.txt", f"--from={folder}", "--out=next", "--train.steps=1", "--sample=0")
    status, _, err = call(capsys, "train", "lm", *words)
    assert status == 0
    assert f"{folder}: the weights of step 4, the best (val_loss 1.250); --last takes" in err


def test_info_names_the_same_best_step_with_its_figure(run, capsys):
    _, folder = run
    _, out, _ = call(capsys, "info", folder)
    assert "validation   best loss 1.250 at step 4, last 1.500 at step 8\n" in out


def test_nothing_is_said_where_the_best_weights_are_the_last(tmp_path, capsys, monkeypatch):
    scripted(monkeypatch, LanguageModelObjective, [{"loss": loss} for loss in (4.0, 3.0, 2.0, 1.0)])
    MAKE["lm"]().fit(out=tmp_path / "run", **FAST)
    assert call(capsys, "generate", tmp_path / "run", "--max-new-tokens=3")[2] == ""


def test_the_best_of_a_run_of_an_earlier_version_is_taken_too(run, tmp_path, capsys):
    """It says neither its step nor what chose it."""
    lm, folder = run
    shutil.rmtree(folder / "best")
    lm.save(folder / "best")
    assert same(weights(load(folder)), weights(lm))
    capsys.readouterr()
    line = f"{folder}: its best weights; --last takes the last\n"
    assert call(capsys, "generate", folder, "--max-new-tokens=3")[2] == line
    lines = [{k: v for k, v in line.items() if k != "best"} for line in read_metrics(folder / "metrics.jsonl")]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "best loss 1.250 at step 4" in call(capsys, "info", folder)[1]


@pytest.mark.parametrize("steps", [8, 10])
def test_best_weights_that_a_kill_kept_from_being_written_come_from_the_state(tmp_path, monkeypatch, steps):
    """The last evaluation is the best, and the kill comes between the state and best/."""
    figures = [{"loss": loss, "accuracy": 0.5} for loss in (0.9, 0.8, 0.7, 0.6, 0.65)]
    scripted(monkeypatch, ClassifyObjective, figures)
    MAKE["classify"]().fit(out=tmp_path / "run", **FAST)
    best, earlier = tmp_path / "run" / "best" / "model.safetensors", tmp_path / "earlier"
    written = best.read_bytes()
    scripted(monkeypatch, ClassifyObjective, figures)
    MAKE["classify"]().fit(out=earlier, **FAST | {"steps": 6})
    best.write_bytes((earlier / "best" / "model.safetensors").read_bytes())
    scripted(monkeypatch, ClassifyObjective, figures[4:])
    task = MAKE["classify"]()
    result = task.fit(out=tmp_path / "run", resume=True, **FAST | {"steps": steps, "lr": 0.2})
    assert result.best_step == 8
    assert best.read_bytes() == written
    assert same(weights(task), weights(load(tmp_path / "run" / "best")))


def test_a_task_that_was_loaded_from_a_run_finds_the_held_out_data_again(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat.\nthe dog ran to the hat.\n" * 8)
    LanguageModel.from_text(tmp_path / "text.txt", **SMALL).fit(out=tmp_path / "run", **FAST)
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in TEXTS))
    Classifier.from_data(tmp_path / "x.csv", **SMALL).fit(out=tmp_path / "classes", **FAST)
    for name, figure in (("run", "loss"), ("classes", "accuracy")):
        lines = read_metrics(tmp_path / name / "metrics.jsonl")
        best = next(line for line in lines if line["step"] == best_of(lines).step)
        assert load(tmp_path / name).evaluate()[figure] == pytest.approx(best[f"val_{figure}"], rel=1e-5)


def test_a_damaged_best_is_named_before_a_run_goes_on(run):
    _, folder = run
    file = folder / "best" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged.*; remove .*best to go on without it"):
        RunFolder(folder).check_best()


def test_a_run_goes_on_when_the_folder_that_it_started_from_is_gone(tmp_path):
    LanguageModel.from_text("the cat sat on the mat.\n" * 9, **SMALL).save(tmp_path / "start")
    (tmp_path / "text.txt").write_text("the cat sat on the mat.\n" * 9)
    task = LanguageModel.from_text(tmp_path / "text.txt", pretrained=tmp_path / "start")
    task.fit(out=tmp_path / "run", **FAST)
    shutil.move(tmp_path / "start", tmp_path / "elsewhere")
    words = ["train", "lm", f"--out={tmp_path / 'run'}", "--resume", "--train.steps=10", "--sample=0"]
    assert main(words) == 0
    assert step_of(tmp_path / "run") == 10
