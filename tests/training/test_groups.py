"""Groups of parameters in `fit`, in the file of a run and on the command line; freezing between two calls of `fit`."""

import json
import re
import tomllib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from numformer import InputError, training
from numformer.cli.main import main
from numformer.optim import SGD, ParameterGroup
from numformer.training.settings import as_plain, from_plain
from numformer.training.step import TrainStep
from numformer.training.workers import Workers

SETTINGS = {"steps": 4, "batch_size": 4, "shards": 2, "eval_every": 2, "progress": False}
GROUPS = [{"pattern": "layers.*", "lr": 1e-4, "weight_decay": 0.0}, {"pattern": "token_embedding", "freeze": True}]


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def moved(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


def test_groups_may_be_dicts_or_objects_and_are_trained_at_their_own_rate(fit):
    objects = tuple(ParameterGroup(**group) for group in GROUPS)
    first, second = (fit(groups=groups, steps=1, lr=1e-2)[0] for groups in (GROUPS, objects))
    assert same(first, second)
    start, usual = fit(steps=0)[0], fit(steps=1, lr=1e-2)[0]
    for name, value in start.items():
        change, expected = np.abs(first[name] - value).max(), np.abs(usual[name] - value).max()
        share = 0.0 if name == "token_embedding.weight" else 1e-2 if name.startswith("layers.") else 1.0
        assert change == pytest.approx(share * expected, rel=0.2, abs=1e-7), name


def test_groups_without_a_difference_train_as_no_groups_up_to_rounding(fit):
    """The order of the parameters in memory changes the rounding of the norm."""
    usual, grouped = fit()[0], fit(groups=[{"pattern": "norm"}, {"pattern": "layers.0"}])[0]
    for name, value in usual.items():
        np.testing.assert_allclose(grouped[name], value, atol=1e-5, err_msg=name)


def test_the_schedule_gives_every_group_the_same_share_of_its_peak(fit, tmp_path):
    fit(out=tmp_path / "run", groups=GROUPS, steps=4, log_every=1, lr=1e-2, schedule="linear", warmup_steps=2)
    state = load_file(tmp_path / "run" / "state" / "checkpoint.safetensors")
    np.testing.assert_allclose(state["optimizer.groups.lr"], 0.0)
    fit(out=tmp_path / "half", groups=GROUPS, steps=3, lr=1e-2, warmup_steps=6)
    state = load_file(tmp_path / "half" / "state" / "checkpoint.safetensors")
    np.testing.assert_allclose(state["optimizer.groups.lr"], [5e-5, 5e-3, 5e-3])
    rates = [json.loads(line)["lr"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rates == [0.005, 0.01, 0.005, 0.0]  # of what belongs to no group


def test_what_a_group_freezes_is_frozen_for_that_training_alone(fit):
    _, _, lm = fit(groups=[{"pattern": "layers", "freeze": True}])
    assert all(p.requires_grad for p in lm.model.parameters())
    before = lm.model.state_dict()
    lm.fit(**SETTINGS)
    assert moved(before, lm.model.state_dict()) == set(before)


def test_a_mistake_in_the_groups_is_told_before_anything_is_written_or_frozen(make_lm, tmp_path):
    lm = make_lm()
    with pytest.raises(InputError, match=r"fits the pattern 'layer\.0'; there are"):
        lm.fit(groups=[{"pattern": "norm", "freeze": True}, {"pattern": "layer.0"}], out=tmp_path / "run", **SETTINGS)
    with pytest.raises(InputError, match="lr must be at least 0"):
        lm.fit(groups=[{"pattern": "norm", "freeze": True}, {"pattern": "layers", "lr": -1.0}], **SETTINGS)
    assert all(p.requires_grad for p in lm.model.parameters())
    assert not (tmp_path / "run").exists()


# Between two calls of fit


def test_parts_are_unfrozen_and_frozen_between_two_calls_of_fit(make_lm):
    lm = make_lm(freeze=("layers", "token_embedding"))
    names = set(lm.model.state_dict())
    found = []
    for change in (None, lambda: lm.model.unfreeze("layers"), lambda: lm.model.freeze("norm")):
        if change is not None:
            change()
        before = lm.model.state_dict()
        lm.fit(**SETTINGS)
        found.append(moved(before, lm.model.state_dict()))
    layers = {name for name in names if name.startswith("layers.")}
    others = {name for name in names if not name.startswith(("layers.", "token_embedding"))}
    assert found == [others, others | layers, (others | layers) - {"norm.weight", "norm.bias"}]


def test_a_run_goes_on_after_parts_were_unfrozen_and_keeps_the_averages_of_the_others(make_lm, text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    lm = make_lm(tmp_path / "text.txt", freeze="layers")
    lm.fit(out=tmp_path / "run", **SETTINGS)
    lm.model.unfreeze("layers")
    before = lm.model.state_dict()
    lm.fit(out=tmp_path / "run", resume=True, **SETTINGS | {"steps": 6})
    assert moved(before, lm.model.state_dict()) == set(before)
    state = load_file(tmp_path / "run" / "state" / "checkpoint.safetensors")
    assert set(state["optimizer.update_counts"].tolist()) == {2, 6}
    assert state["optimizer.held"].all()


def test_freezing_in_the_middle_of_a_training_is_refused_in_a_sentence(make_lm):
    lm = make_lm()
    optimizer = SGD(lm.model.parameters(), lr=0.1)
    objective = lm.objective(training.TrainConfig(batch_size=4))
    with Workers(2) as workers:
        step = TrainStep(objective, optimizer, workers, seed=0, shards=2)
        step(1)
        lm.model.freeze("norm")
        before = lm.model.state_dict()
        with pytest.raises(InputError, match="frozen or unfrozen during the training: do so between two calls of fit"):
            step(2)
        assert moved(before, lm.model.state_dict()) == set()


# Runs


@pytest.fixture
def run(fit, text, tmp_path):
    """Make a finished run of four steps with groups, and a function that continues it."""
    (tmp_path / "text.txt").write_text(text)

    def go(**settings):
        settings = SETTINGS | {"groups": GROUPS, "out": tmp_path / "run", "schedule": "cosine"} | settings
        return fit(tmp_path / "text.txt", **settings)[0]

    go()
    return go


def test_a_run_with_groups_continues_to_the_same_bytes(run, fit, tmp_path):
    """With a constant rate, for the length of the run is part of a cosine."""
    settings = SETTINGS | {"groups": GROUPS}
    fit(tmp_path / "text.txt", out=tmp_path / "a", **settings)
    fit(tmp_path / "text.txt", out=tmp_path / "a", resume=True, **settings | {"steps": 8})
    fit(tmp_path / "text.txt", out=tmp_path / "b", **settings | {"steps": 8})
    for name in ("model.safetensors", "state/checkpoint.safetensors", "run.toml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_file_of_a_run_has_its_groups(run, tmp_path):
    settings = tomllib.loads((tmp_path / "run" / "run.toml").read_text())["optim"]
    assert settings["groups"] == [GROUPS[0] | {"freeze": False}, GROUPS[1]]
    config = from_plain(training.OptimConfig, settings, "run.toml")
    assert config.groups == tuple(ParameterGroup(**group) for group in GROUPS)
    assert as_plain(config) == settings


def test_the_rate_of_a_group_may_change_when_a_run_is_continued(run, tmp_path):
    run(resume=True, steps=6, groups=[GROUPS[0] | {"lr": 0.5}, GROUPS[1]], schedule="constant")
    state = load_file(tmp_path / "run" / "state" / "checkpoint.safetensors")
    np.testing.assert_allclose(state["optimizer.groups.lr"], [0.5, 1e-3, 1e-3])


@pytest.mark.parametrize(
    "groups",
    [
        [],
        GROUPS[:1],
        GROUPS[::-1],
        [GROUPS[0] | {"pattern": "layers"}, GROUPS[1]],
        [GROUPS[0] | {"weight_decay": 0.1}, GROUPS[1]],
        [GROUPS[0], GROUPS[1] | {"freeze": False}],
    ],
    ids=str,
)
def test_other_groups_make_another_run(run, groups):
    with pytest.raises(InputError, match=r"^cannot resume: groups is "):
        run(resume=True, groups=groups)


def test_a_checkpoint_of_the_version_before_groups_is_continued(fit, text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    for name in ("a", "b"):
        fit(tmp_path / "text.txt", out=tmp_path / name, **SETTINGS)
    file = tmp_path / "a" / "state" / "checkpoint.safetensors"
    with safe_open(file, framework="numpy") as opened:
        metadata = {"progression": opened.metadata()["progression"]}
    new = ("optimizer.held", "optimizer.group")
    save_file({name: array for name, array in load_file(file).items() if not name.startswith(new)}, file, metadata)
    settings = (tmp_path / "a" / "run.toml").read_text()
    (tmp_path / "a" / "run.toml").write_text(settings.replace("groups = []\n", ""))
    with pytest.raises(InputError, match=r"^cannot resume: groups is "):
        fit(tmp_path / "text.txt", out=tmp_path / "a", resume=True, groups=GROUPS, **SETTINGS)
    ends = [fit(tmp_path / "text.txt", out=tmp_path / name, resume=True, **SETTINGS | {"steps": 6})[0] for name in "ab"]
    assert same(*ends)


# The command line


def train(tmp_path, config, *more):
    (tmp_path / "config.toml").write_text(config)
    (tmp_path / "text.txt").write_text("the cat sat on the mat.\n" * 40)
    model = ["--model.d-model=16", "--model.num-layers=1", "--model.num-heads=2", "--model.max-seq-len=8"]
    words = [f"--data={tmp_path / 'text.txt'}", f"--config={tmp_path / 'config.toml'}", f"--out={tmp_path / 'run'}"]
    return main(["train", "lm", *words, *model, "--train.steps=2", "--train.batch-size=4", "--sample=0", *more])


def test_a_file_of_options_gives_groups(tmp_path, capsys):
    groups = '[[optim.groups]]\npattern = "layers.*"\nlr = 0.5\n[[optim.groups]]\npattern = "norm"\nfreeze = true\n'
    assert train(tmp_path, f"[optim]\nlr = 1e-2\n{groups}") == 0
    state = load_file(tmp_path / "run" / "state" / "checkpoint.safetensors")
    np.testing.assert_allclose(state["optimizer.groups.lr"], [0.5, 1e-2, 1e-2])
    assert not state["optimizer.held"].all()
    assert main(["train", "lm", f"--out={tmp_path / 'run'}", "--resume", "--train.steps=3", "--sample=0"]) == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('[[optim.groups]]\npattern = "leyers"\n', "no parameter of GPT fits the pattern 'leyers'"),
        ('[[optim.groups]]\npatern = "layers"\n', "unknown setting patern; known are .*did you mean pattern"),
        ("[[optim.groups]]\nlr = 0.1\n", r"\[optim\] \[groups\]: pattern is missing"),
        ("[optim]\ngroups = 3\n", r"\[optim\]: groups must be a table"),
        ('[[optim.groups]]\npattern = "layers"\nlr = "fast"\n', "lr must be float or NoneType|lr must be float"),
    ],
)
def test_a_mistake_in_the_groups_of_a_file_is_one_line(tmp_path, capsys, config, message):
    assert train(tmp_path, config) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert [line.startswith("numformer: ") for line in error.splitlines()][-1:] == [True]
    assert error.count("numformer: ") == 1
    assert not (tmp_path / "run").exists()


def test_a_decay_by_layers_is_that_of_such_groups(fit):
    groups = [
        {"pattern": "layers.0", "lr": 5e-3},
        {"pattern": "*embedding*", "lr": 2.5e-3},
    ]
    by_hand, by_rate = fit(groups=groups, lr=1e-2)[0], fit(layer_decay=0.5, lr=1e-2)[0]
    assert same(by_hand, by_rate)
    assert not same(by_rate, fit(lr=1e-2)[0])


def test_a_decay_by_layers_and_groups_do_not_go_together(fit):
    with pytest.raises(InputError, match="leave one of layer_decay and groups out"):
        fit(groups=GROUPS, layer_decay=0.5)
