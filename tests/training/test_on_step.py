"""`fit(on_step=…)`: a callback after each step, which may stop the run."""

import json

import numpy as np
import pytest


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_is_called_with_the_figures_of_every_step(fit, tmp_path):
    seen = []
    fit(on_step=seen.append, out=tmp_path / "run", log_every=1, steps=4, eval_every=2)
    assert seen == lines_of(tmp_path / "run")
    assert [line["step"] for line in seen] == [1, 2, 3, 4]
    assert {"loss", "lr", "grad_norm"} <= seen[0].keys()
    assert ["val_loss" in line for line in seen] == [False, True, False, True]


def test_it_changes_no_weight_and_no_record(fit, tmp_path):
    usual = fit(model={"dropout": 0.1}, out=tmp_path / "a")[0]
    watched = fit(model={"dropout": 0.1}, out=tmp_path / "b", on_step=lambda line: line.clear())[0]
    assert all(np.array_equal(usual[name], watched[name]) for name in usual)
    assert [line["loss"] for line in lines_of(tmp_path / "a")] == [line["loss"] for line in lines_of(tmp_path / "b")]


def test_true_stops_the_run_with_a_checkpoint_that_goes_on_to_the_same_weights(fit, tmp_path, make_lm):
    whole = fit(model={"dropout": 0.1})[0]
    _, result, _ = fit(model={"dropout": 0.1}, out=tmp_path / "run", on_step=lambda line: line["step"] == 4)
    assert (result.stopped, result.step) == ("callback", 4)
    assert lines_of(tmp_path / "run")[-1]["step"] == 4
    again = make_lm(dropout=0.1)
    settings = {"steps": 6, "batch_size": 8, "shards": 2, "eval_every": 3, "progress": False}
    assert again.fit(out=tmp_path / "run", resume=True, **settings).stopped == "finished"
    assert all(np.array_equal(whole[name], value) for name, value in again.model.state_dict().items())


def test_a_run_that_is_stopped_at_its_last_step_is_finished(fit):
    assert fit(steps=3, on_step=lambda line: line["step"] == 3)[1].stopped == "finished"


def test_the_model_can_be_used_between_steps(make_lm):
    lm, texts = make_lm(), []
    lm.fit(steps=2, batch_size=8, shards=2, progress=False, on_step=lambda line: texts.append(lm.generate("the ", 3)))
    assert [len(text) for text in texts] == [3, 3]
    assert not lm.model.training


def test_what_it_raises_ends_the_run(fit):
    with pytest.raises(ZeroDivisionError):
        fit(on_step=lambda line: 1 // 0)
