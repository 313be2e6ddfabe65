"""Runs that are killed, interrupted and continued, as processes of their own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from numformer import GPTConfig, InputError, LanguageModel, build_model
from numformer.optim import AdamW
from numformer.training.metrics import read_metrics
from numformer.training.run_folder import Progression, RunFolder
from numformer.training.settings import table_of

BYTES = ("model.safetensors", "state/checkpoint.safetensors", "best/model.safetensors", "tokenizer.json", "run.toml")
OPTIONS = {
    **{"model.d-model": 16, "model.num-heads": 2, "model.num-layers": 1, "model.max-seq-len": 8, "model.dropout": 0.1},
    **{"train.steps": 120, "train.batch-size": 8, "train.accumulation": 2, "train.shards": 2, "train.eval-every": 5},
    **{"train.log-every": 1, "train.seed": 3, "sample": 0, "optim.schedule": "cosine", "optim.warmup-steps": 10},
}


def start(folder, *more, **options):
    words = [f"--{name}={value}" for name, value in (OPTIONS | options).items()]
    command = [sys.executable, "-m", "numformer", "train", "lm", f"--out={folder}", *words, *more]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)


def finish(folder, *more, **options):
    process = start(folder, *more, **options)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def resume(folder):
    """Continue with the options of the run alone."""
    command = [sys.executable, "-m", "numformer", "train", "lm", f"--out={folder}", "--resume", "--sample=0"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for_step(process, folder, step):
    """Wait until the metrics tell of a step."""
    metrics = folder / "metrics.jsonl"
    while process.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < step):
        time.sleep(0.002)


def same_bytes(first, second):
    return [name for name in BYTES if (first / name).read_bytes() != (second / name).read_bytes()] == []


def without_times(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return [{key: line[key] for key in line.keys() - {"seconds", "tokens_per_s"}} for line in lines]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text(
        "".join(f"the {rng.choice(['cat', 'dog'])} sat on the {rng.choice(['mat', 'hat'])}.\n" for _ in range(99))
    )
    return path


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(folder, data=data)
    return folder


def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(data, uninterrupted, tmp_path):
    rng, folder = random.Random(5), tmp_path / "run"
    process = start(folder, data=data)
    kills = 0
    for _ in range(5):
        done = len(without_times(folder))
        wait_for_step(process, folder, done + rng.randrange(1, 20))
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        for file in folder.rglob("*.safetensors"):
            load_file(file)
        process = resume(folder)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert kills >= 3
    assert same_bytes(folder, uninterrupted)
    assert without_times(folder) == without_times(uninterrupted)
    assert not list(folder.rglob("*.tmp"))


def test_ctrl_c_leaves_a_checkpoint_says_how_to_go_on_and_loses_nothing(data, uninterrupted, tmp_path):
    folder = tmp_path / "a run"
    process = start(folder, data=data)
    wait_for_step(process, folder, 17)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"continue with: numformer train lm --out '{folder}' --resume" in err
    assert "Traceback" not in err
    with safe_open(folder / "state" / "checkpoint.safetensors", "numpy") as file:
        assert 17 <= json.loads(file.metadata()["progression"])["step"] < 120
    again = resume(folder)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert same_bytes(folder, uninterrupted)


SETTINGS = {"steps": 4, "batch_size": 4, "shards": 2, "eval_every": 2, "progress": False}


@pytest.fixture
def run(fit, text, tmp_path):
    """Make a finished run of four steps."""
    (tmp_path / "text.txt").write_text(text)
    return fit(tmp_path / "text.txt", out=tmp_path / "run", **SETTINGS)[0]


def test_more_steps_give_the_weights_of_a_longer_run(fit, run, tmp_path):
    longer, result, _ = fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS | {"steps": 8})
    expected, _, _ = fit(tmp_path / "text.txt", **SETTINGS | {"steps": 8})
    assert result.step == 8
    assert all(np.array_equal(longer[name], expected[name]) for name in expected)


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json", "config.json", "curves.png"])
def test_resuming_a_finished_run_brings_its_files_up_to_date(fit, run, tmp_path, lost):
    """A kill may come between the checkpoint and what is written after it."""
    before = (tmp_path / "run" / lost).read_bytes()
    (tmp_path / "run" / lost).unlink()
    fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)
    assert (tmp_path / "run" / lost).read_bytes() == before


def test_a_run_killed_before_its_first_checkpoint_starts_again(fit, run, tmp_path):
    for name in ("state/checkpoint.safetensors", "model.safetensors"):  # they are written in this order
        (tmp_path / "run" / name).unlink()
    again, _, _ = fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)
    assert all(np.array_equal(again[name], run[name]) for name in run)
    assert [line["step"] for line in without_times(tmp_path / "run")] == [2, 4]


def test_a_trained_run_whose_checkpoint_was_taken_away_is_left_alone(fit, run, tmp_path):
    (tmp_path / "run" / "state" / "checkpoint.safetensors").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is missing"):
        fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_line_of_metrics_cut_off_by_a_kill_is_dropped(fit, run, tmp_path):
    metrics = tmp_path / "run" / "metrics.jsonl"
    before = without_times(tmp_path / "run")
    metrics.write_text(metrics.read_text() + '{"step": 5, "lo')
    fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)
    assert without_times(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "adam"}, "optimizer is 'adam', but the run has 'adamw'"),
        ({"shards": 3}, "shards is 3, but the run has 2"),
        ({"seed": 1}, "seed is 1, but the run has 0"),
        ({"batch_size": 8}, "batch_size is 8, but the run has 4"),
        ({"model": {"d_model": 32}}, "d_model is 32, but the run has 16"),
        ({"model": {"valid_fraction": 0.2}}, "valid_fraction is 0.2, but the run has 0.1"),
        ({"swap": ("owl", "cat")}, "the data of .*run has changed since the run began$"),
        ({"swap": ("cat", "tac")}, "the data of .*run has changed since the run began$"),
        ({"swap": ("cat", "tiger")}, "since the run began: 3,400 bytes then, 3,5[0-9]{2} now$"),
    ],
    ids=str,
)
def test_other_settings_or_another_text_are_refused_in_a_sentence(fit, run, text, tmp_path, changed, message):
    if swap := changed.pop("swap", None):
        (tmp_path / "text.txt").write_text(text.replace(*swap))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    settings = SETTINGS | {"text": tmp_path / "text.txt", "out": tmp_path / "run"} | changed
    with pytest.raises(InputError, match=f"^cannot resume: .*{message}"):
        fit(resume=True, **settings)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_another_validation_file_is_refused(fit, text, tmp_path):
    (tmp_path / "valid.txt").write_text("the cat sat.\n")
    settings = SETTINGS | {"model": {"valid": tmp_path / "valid.txt"}, "out": tmp_path / "run"}
    fit(text, **settings)
    (tmp_path / "valid.txt").write_text("the dog sat.\n")
    with pytest.raises(InputError, match=r"cannot resume: the data of .*run has changed"):
        fit(text, resume=True, **settings)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0", b"not safetensors" * 100])
def test_a_damaged_checkpoint_is_named(fit, run, tmp_path, content):
    (tmp_path / "run" / "state" / "checkpoint.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged") as caught:
        fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)
    assert "\n" not in str(caught.value)


def test_the_state_of_a_run_of_an_earlier_version_is_refused_in_one_sentence(fit, run, tmp_path):
    file = tmp_path / "run" / "state" / "checkpoint.safetensors"
    with safe_open(file, framework="numpy") as opened:
        metadata = {"progression": opened.metadata()["progression"]}  # there were no checksums
    tensors = {name.replace("layers", "transformer.h"): value for name, value in load_file(file).items()}
    tensors["optimizer.step_count"] = tensors.pop("optimizer.update_counts")[:1]
    save_file(tensors, file, metadata)
    with pytest.raises(InputError, match="this optimizer state is of an earlier version") as caught:
        fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)
    assert "\n" not in str(caught.value)


def test_a_model_in_the_place_of_the_checkpoint_is_refused(fit, run, tmp_path):
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "state" / "checkpoint.safetensors").write_bytes(model)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is not the checkpoint of a run"):
        fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)


def test_a_model_saved_and_loaded_can_be_trained_like_one_never_saved(make_lm, tmp_path):
    lm = make_lm()
    lm.save(tmp_path / "saved")
    loaded = LanguageModel.load(tmp_path / "saved")
    loaded.train_tokens, loaded.valid_tokens, loaded.source = lm.train_tokens, lm.valid_tokens, lm.source
    for each in (lm, loaded):
        each.fit(**SETTINGS)
    for name, value in lm.model.state_dict().items():
        np.testing.assert_array_equal(loaded.model.state_dict()[name], value)


def test_a_part_of_the_settings_that_is_no_table_is_named():
    assert table_of({}, "train") == {}
    with pytest.raises(InputError, match=r"run\.toml: train must be a table \[train\], got 3"):
        table_of({"train": 3}, "train")


def test_a_checkpoint_holds_the_buffers_of_a_model(tmp_path):
    def made(value):
        model = build_model(GPTConfig(vocab_size=5, d_model=8, num_heads=2, num_layers=1, max_seq_len=4))
        model.register_buffer("seen", np.array([value, 2]))
        return model, AdamW(model.parameters())

    RunFolder(tmp_path).save_checkpoint(*made(7), Progression(step=3))
    model, optimizer = made(0)
    assert RunFolder(tmp_path).load_checkpoint(model, optimizer).step == 3
    assert model.seen.tolist() == [7, 2]
    assert load_file(tmp_path / "model.safetensors")["seen"].tolist() == [7, 2]


def test_a_run_that_has_its_steps_says_that_there_is_nothing_to_do_and_is_left_alone(fit, run, tmp_path, capsys):
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    capsys.readouterr()
    settings = SETTINGS | {"progress": True, "eval_every": 1, "lr": 0.5}  # which change nothing any more
    again, result, lm = fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **settings)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"{tmp_path / 'run'}: nothing to do, it has made its 4 steps; more steps go on"
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files} == before
    assert all(np.array_equal(again[name], run[name]) for name in run)
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    assert (result.step, result.new_steps, result.stopped) == (4, 0, "finished")
    assert not lm.model.training
    assert (result.loss, result.val_loss, result.seconds) == (last["loss"], last["val_loss"], last["seconds"])


def test_a_last_model_of_an_earlier_step_is_brought_up_to_date(fit, run, tmp_path):
    """A kill came between the last checkpoint and the model for everybody else."""
    file = tmp_path / "run" / "model.safetensors"
    written = file.read_bytes()
    fit(tmp_path / "text.txt", out=tmp_path / "earlier", **SETTINGS | {"steps": 2})
    file.write_bytes((tmp_path / "earlier" / "model.safetensors").read_bytes())
    fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS)
    assert file.read_bytes() == written


@pytest.mark.parametrize("place", [0.0, 0.3, 0.9])
def test_a_bit_flipped_in_the_state_is_found(fit, run, tmp_path, place):
    file = tmp_path / "run" / "state" / "checkpoint.safetensors"
    content = bytearray(file.read_bytes())
    first = 8 + int.from_bytes(content[:8], "little")
    content[first + int(place * (len(content) - first))] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged: its content does not have the checksum"):
        fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS | {"steps": 6})


def test_settings_that_change_on_the_way_are_written_down_with_the_step(fit, run, tmp_path):
    for steps, lr in ((6, 1e-3), (8, 1e-2), (9, 1e-2)):
        fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS | {"steps": steps, "lr": lr})
    settings = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert settings["resumed"] == [{"at_step": 6, "before": {"lr": 1e-3}}]
    assert settings["optim"]["lr"] == 1e-2


def test_a_longer_run_is_another_one_only_where_its_rate_depends_on_the_length(fit, text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    settings = SETTINGS | {"schedule": "cosine", "out": tmp_path / "cosine"}
    fit(tmp_path / "text.txt", **settings)
    fit(tmp_path / "text.txt", resume=True, **settings | {"steps": 6})
    resumed = tomllib.loads((tmp_path / "cosine" / "run.toml").read_text())["resumed"]
    assert resumed == [{"at_step": 4, "before": {"steps": 4}}]


def test_a_run_of_an_earlier_version_whose_text_has_only_the_checksum_of_its_tokens_goes_on(fit, run, text, tmp_path):
    file = tmp_path / "run" / "run.toml"
    kept = [line for line in file.read_text().splitlines() if line.split(" ")[0] not in ("text_crc32", "num_bytes")]
    file.write_text("\n".join(kept))
    assert fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS | {"steps": 5})[1].step == 5
    file.write_text("\n".join(kept))
    (tmp_path / "text.txt").write_text(text.replace("cat", "tac"))
    with pytest.raises(InputError, match=r"the data of .*run has changed"):
        fit(tmp_path / "text.txt", out=tmp_path / "run", resume=True, **SETTINGS | {"steps": 6})
