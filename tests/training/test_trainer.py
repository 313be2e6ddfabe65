import json
import math
import signal
import sys

import numpy as np
import pytest

from numformer import InputError, LanguageModel
from numformer import tasks as nf_tasks

KEYS = {"step", "loss", "grad_norm", "lr", "tokens_per_s", "seconds"}


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def scripted_validation(monkeypatch, losses):
    """Let the evaluations return these losses, one after the other."""
    script = iter(losses)
    objective = nf_tasks.language_model.LanguageModelObjective
    monkeypatch.setattr(objective, "evaluate", lambda self, workers: {"loss": next(script)})


def test_training_learns_the_pattern_of_a_text(fit):
    _, result, lm = fit(model={"d_model": 32}, steps=150, batch_size=16, lr=1e-2, eval_every=150)
    assert result.loss < 0.9  # from log(19) = 2.9; two letters of three follow from those before
    assert result.val_loss < 0.9
    assert lm.evaluate()["loss"] == result.val_loss


@pytest.mark.parametrize("settings", [{}, {"accumulation": 2}, {"recompute": True}], ids=str)
def test_one_and_two_threads_give_identical_weights(fit, settings):
    one, two = (fit(model={"dropout": 0.1}, threads=threads, **settings)[0] for threads in (1, 2))
    assert same(one, two)


def test_the_same_seed_gives_the_same_weights_and_another_others(fit):
    model = {"dropout": 0.1}
    assert same(fit(model=model, seed=1)[0], fit(model=model, seed=1)[0])
    assert not same(fit(model=model, seed=1)[0], fit(model=model, seed=2)[0])


@pytest.mark.parametrize("settings", [{"eval_every": 1}, {"eval_every": 100, "eval_examples": 1}, {"log_every": 1}])
def test_evaluating_and_logging_change_no_weight(fit, tmp_path, settings):
    usual = fit(model={"dropout": 0.1}, out=tmp_path / "a")[0]
    assert same(fit(model={"dropout": 0.1}, out=tmp_path / "b", **settings)[0], usual)


@pytest.mark.parametrize("setting", [{"recompute": True}, {"accumulation": 4}])
def test_ways_to_save_memory_change_the_weights_by_rounding_only(fit, setting):
    usual, saving = fit()[0], fit(**setting)[0]
    for name, value in usual.items():
        np.testing.assert_allclose(saving[name], value, atol=2e-5, err_msg=name)


def test_the_global_random_state_is_neither_used_nor_touched(fit):
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    first = fit(model={"dropout": 0.1})[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(8)
    assert same(fit(model={"dropout": 0.1})[0], first)


def test_dropout_is_active_in_training_steps_only(make_lm):
    lm = make_lm(dropout=0.5)
    measured = {lm.evaluate()["loss"] for _ in range(3)}
    assert len(measured) == 1
    assert lm.model.training
    tokens = np.array([[1, 2, 3]])
    assert not np.array_equal(lm.model(tokens).data, lm.model(tokens).data)


def test_validation_text_is_no_part_of_the_training_text(make_lm, text):
    lm = make_lm(text, valid_fraction=0.25)
    ids = lm.tokenizer.encode(text)
    cut = int(0.75 * len(ids))
    np.testing.assert_array_equal(lm.train_tokens, ids[:cut])
    np.testing.assert_array_equal(lm.valid_tokens, ids[cut:])


def test_a_validation_file_leaves_the_whole_text_for_training(make_lm, text, tmp_path):
    (tmp_path / "valid.txt").write_text("the owl hid.\n")
    lm = make_lm(text, valid=tmp_path / "valid.txt")
    assert len(lm.train_tokens) == len(text)
    assert lm.tokenizer.decode(lm.valid_tokens) == "the owl hid.\n"


def test_a_run_folder_holds_what_was_promised(fit, tmp_path):
    weights, _, _ = fit(out=tmp_path / "run")
    names = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    model = {"config.json", "model.safetensors", "tokenizer.json"}
    assert names == {
        *model,
        *(f"best/{name}" for name in model),
        "run.toml",
        "metrics.jsonl",
        "curves.png",
        "state/checkpoint.safetensors",
    }
    assert same(LanguageModel.load(tmp_path / "run").model.state_dict(), weights)


def test_metrics_are_one_object_a_line(fit, tmp_path):
    _, result, _ = fit(out=tmp_path / "run", steps=7, eval_every=3, log_every=2)
    lines = lines_of(tmp_path / "run")
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 7]
    assert [line["step"] for line in lines if "val_loss" in line] == [3, 6, 7]
    assert {frozenset(line.keys() - {"val_loss", "best"}) for line in lines} == {frozenset(KEYS)}
    values = [value for line in lines for name, value in line.items() if name != "best"]
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    assert lines[-1]["loss"] == result.loss
    assert lines[-1]["val_loss"] == result.val_loss


def test_the_learning_rate_follows_the_schedule(fit, tmp_path):
    fit(out=tmp_path / "run", log_every=1, lr=0.1, schedule="linear", warmup_steps=2, min_lr_ratio=0.5)
    rates = [line["lr"] for line in lines_of(tmp_path / "run")]
    assert rates == pytest.approx([0.05, 0.1, 0.0875, 0.075, 0.0625, 0.05])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_curves_are_a_picture(fit, tmp_path, schedule):
    pytest.importorskip("matplotlib")
    fit(out=tmp_path / "run", schedule=schedule, log_every=1)
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_no_steps_still_leave_a_whole_folder(fit, tmp_path):
    _, result, lm = fit(out=tmp_path / "run", steps=0)
    assert result.step == 0
    assert same(LanguageModel.load(tmp_path / "run").model.state_dict(), lm.model.state_dict())


def test_without_matplotlib_everything_but_the_picture_is_there(fit, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    fit(out=tmp_path / "run")
    assert not (tmp_path / "run" / "curves.png").exists()
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_early_stopping_keeps_the_best_weights(fit, tmp_path, monkeypatch):
    scripted_validation(monkeypatch, [3.0, 2.0, 2.5, 2.0, 9.0])
    weights, result, _ = fit(out=tmp_path / "run", steps=100, eval_every=2, patience=2)
    assert (result.step, result.stopped, result.best_step, result.best_loss) == (8, "no improvement", 4, 2.0)
    monkeypatch.undo()
    after_best, at_the_end = fit(steps=4)[0], fit(steps=8)[0]
    assert same(weights, after_best)
    assert same(LanguageModel.load(tmp_path / "run").model.state_dict(), after_best)
    assert same(LanguageModel.load(tmp_path / "run" / "best").model.state_dict(), after_best)
    assert same(LanguageModel.load(tmp_path / "run", last=True).model.state_dict(), at_the_end)
    assert not same(at_the_end, after_best)


def test_an_improvement_starts_the_patience_again(fit, monkeypatch):
    scripted_validation(monkeypatch, [3.0, 4.0, 2.0, 4.0, 4.0])
    assert fit(steps=100, eval_every=1, patience=2)[1].step == 5


def test_a_run_that_stopped_early_does_not_go_on_when_resumed(fit, tmp_path, monkeypatch):
    scripted_validation(monkeypatch, [2.0, 3.0])
    weights, first, _ = fit(out=tmp_path / "run", steps=100, eval_every=1, patience=1)
    again, second, _ = fit(out=tmp_path / "run", steps=100, eval_every=1, patience=1, resume=True)
    assert (first.step, second.step) == (2, 2)
    assert same(weights, again)


def interrupt_at(monkeypatch, step):
    """Press Ctrl-C while a step runs."""
    task = nf_tasks.language_model.LanguageModelObjective
    batch = task.batch

    pressed = []

    def interrupted_batch(self, number):
        if number == step and not pressed:
            pressed.append(number)
            signal.raise_signal(signal.SIGINT)
        return batch(self, number)

    monkeypatch.setattr(task, "batch", interrupted_batch)


def test_ctrl_c_keeps_the_step_without_an_evaluation_of_its_own(fit, tmp_path, monkeypatch):
    """One would count for patience and best/, and a resumed run would end in other bytes."""
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        _, result, _ = fit(out=tmp_path / "run")
    assert (result.step, result.stopped) == (4, "interrupted")
    assert [line["step"] for line in lines_of(tmp_path / "run") if "val_loss" in line] == [3]
    assert signal.getsignal(signal.SIGINT) is handler
    resumed, result, _ = fit(out=tmp_path / "run", resume=True)
    usual, expected, _ = fit(out=tmp_path / "usual")
    assert same(resumed, usual)
    assert (result.best_step, result.best_loss) == (expected.best_step, expected.best_loss)


def test_ctrl_c_in_the_last_step_lets_the_run_finish(fit, monkeypatch):
    interrupt_at(monkeypatch, 6)
    assert fit()[1].stopped == "finished"


@pytest.mark.parametrize("eval_every", [1, 100])
def test_divergence_says_when_and_what_to_try_and_keeps_the_last_good_checkpoint(fit, make_lm, tmp_path, eval_every):
    with pytest.raises(InputError, match=r"became (nan|inf) at step [12]: try a learning rate below 1e\+30") as caught:
        fit(out=tmp_path / "run", lr=1e30, eval_every=eval_every)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "run") in str(caught.value)
    assert same(LanguageModel.load(tmp_path / "run").model.state_dict(), make_lm().model.state_dict())
    with pytest.raises(InputError, match="became"):
        fit(out=tmp_path / "run", lr=1e30, eval_every=eval_every, resume=True)


def test_weights_that_are_not_numbers_stop_the_first_step(make_lm):
    lm = make_lm()
    lm.model.token_embedding.weight.data[...] = np.nan
    with pytest.raises(InputError, match="the loss became nan at step 1"):
        lm.fit(steps=3, progress=False)


def test_progress_is_lines_on_stderr_when_that_is_no_terminal(fit, capsys):
    fit(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    text, first, *steps = err.splitlines()
    assert text.startswith("data: 3,400 characters in 200 lines; 3,400 tokens")
    assert first == "3,728 parameters, 3,060 tokens of text to train on"
    assert [line.split("  ")[0] for line in steps] == ["step 3", "step 6"]
    assert all("loss" in line and "validation" in line and "tokens/s" in line for line in steps)
