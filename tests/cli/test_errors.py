"""Everything that a person may get wrong: one line, status 2, nothing overwritten or created."""

import errno
import os
import resource
import shutil
import subprocess
import sys

import pytest

from numformer.cli.main import COMMANDS, main

TRAIN = [
    ({"data": "nowhere.txt"}, "there is no file nowhere.txt"),
    ({"data": None}, "train lm needs a text"),
    ({"data": "."}, "could not read .: Is a directory"),
    ({"data": "empty.txt"}, "empty.txt is empty"),
    ({"data": "short.txt"}, "the training text has 3 tokens, fewer than the 9 that one window of max_seq_len=8 needs"),
    ({"data": "latin1.txt"}, "latin1.txt is not UTF-8 text: byte 0xe9 at offset 3"),
    ({"data": "tinyshakespeare"}, "numformer data fetch tinyshakespeare"),
    ({"valid": "nowhere.txt"}, "there is no file nowhere.txt"),
    ({"valid": "latin1.txt"}, "latin1.txt is not UTF-8"),
    ({"valid_fraction": 1}, "valid_fraction must be at least 0 and less than 1"),
    ({"tokenizer": "words"}, "the tokenizer words loses the spaces of a text"),
    ({"tokenizer": "nothing"}, "got the tokenizer 'nothing', expected characters, bytes, bpe"),
    ({"out": "text.txt"}, "text.txt is a file; a run needs a folder"),
    ({"out": "text.txt/run"}, "text.txt/run"),
    ({"out": "mine"}, "mine exists and is not a run folder"),
    ({"config": "nowhere.toml"}, "there is no nowhere.toml"),
    ({"config": "latin1.txt"}, "latin1.txt cannot be read as TOML"),
    ({"config": "text.txt"}, "text.txt cannot be read as TOML"),
    ({"sample": -1}, "sample must be at least 0, got -1"),
    ({"model__num_heads": 3}, "num_heads=3 does not divide d_model=16"),
    ({"model__d_model": 0}, "d_model must be a positive whole number"),
    ({"model__d_model": 10**30}, "d_model must be a positive whole number"),
    ({"model__max_seq_len": 100000}, "tokens, fewer than the 100001"),
    ({"model__dropout": 1}, "dropout must be at least 0 and below 1"),
    ({"model__activation": "mish"}, "unknown activation 'mish'"),
    ({"model__vocab_size": 3}, "vocab_size=3 is below the"),
    ({"optim__lr": -1}, "lr must be at least 0"),
    ({"optim__lr": "fast"}, "--optim.lr takes a number, got 'fast'"),
    ({"optim__optimizer": "rms"}, "'adamw', 'adam', 'sgd'"),
    ({"optim__schedule": "cosine", "optim__warmup_steps": 9}, "expected a warm-up shorter than the training"),
    ({"train__steps": -1}, "steps must be at least 0, got -1"),
    ({"train__steps": 1.5}, "--train.steps"),
    ({"train__seed": -1}, "seed must be at least 0, got -1"),
    ({"train__batch_size": 0}, "batch_size must be at least 1"),
    ({"train__batch_size": 10**30}, "batch_size must be below 2**53"),
    ({"train__shards": 9}, "batch_size=4 cannot be cut into 9 shards of 1 piece"),
    ({"train__stpes": 9}, "did you mean --train.steps?"),
    ({"out": "nowhere", "data": None, "resume": True}, "there is no nowhere/run.toml"),
]


@pytest.fixture
def wrong_files(here):
    (here / "empty.txt").touch()
    (here / "short.txt").write_text("abc\n")
    (here / "latin1.txt").write_bytes(b"caf\xe9 au lait\n" * 20)
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("do not delete")


@pytest.mark.parametrize(("options", "message"), TRAIN, ids=lambda value: str(value)[:40])
def test_training_is_refused(wrong_files, train, refused, options, message):
    options = dict(options)
    more = ["--resume"] if options.pop("resume", False) else []
    refused(lambda: train(*more, **options), message)


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_folder_that_is_no_run_is_never_replaced(wrong_files, train, refused, more):
    refused(lambda: train(*more, out="mine"), "mine exists and is not a run folder; choose another --out")


def test_a_run_that_exists_asks_for_resume_or_overwrite(here, train, refused):
    train()
    refused(train, "the run run exists: continue it with --resume or replace it with --overwrite")


def test_overwrite_destroys_nothing_when_the_input_is_wrong(wrong_files, train, refused):
    train()
    for options, message in TRAIN:
        if "out" not in options:
            refused(lambda options=options: train("--overwrite", **options), message)


def test_overwrite_replaces_a_run_and_leaves_other_files_alone(here, train):
    train(train__seed=1)
    (here / "run" / "notes.txt").write_text("mine")
    first = (here / "run" / "model.safetensors").read_bytes()
    assert train("--overwrite", train__seed=2).status == 0
    assert (here / "run" / "model.safetensors").read_bytes() != first
    assert (here / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--overwrite"], "--resume continues the run and --overwrite replaces it: choose one"),
        (["--config=text.txt"], "--resume takes its options from the run: leave out --config"),
        (["--optim.eps=0.5"], "cannot resume: eps is 0.5, but the run has 1e-08"),
        (["--model.d-model=32"], "cannot resume: d_model is 32, but the run has 16"),
        (["--valid-fraction=0.3"], "cannot resume: valid_fraction is 0.3, but the run has 0.1"),
        (["--data=nowhere.txt"], "there is no file nowhere.txt"),
    ],
)
def test_resuming_with_something_else_is_refused(here, train, numformer, refused, words, message):
    train()
    refused(lambda: numformer("train", "lm", "--out=run", "--resume", *words), message)


def test_resuming_without_a_folder_is_refused(here, numformer, refused):
    refused(lambda: numformer("train", "lm", "--resume"), "--resume needs the folder of the run: --out FOLDER")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "unknown command 'nonsense'; the commands are train lm, train mlm,"),
        (["train", "nonsense"], "unknown command 'train nonsense'"),
        (["train", "--data", "text.txt"], "unknown command 'train --data'"),
        (["--nonsense"], "unknown command '--nonsense'"),
        (["data", "fetch"], "missing from numformer data fetch: NAME"),
        (["data", "fetch", "nothing"], "there is no text named 'nothing' (known are pydoc, tinyshakespeare)"),
        (["data", "list", "more"], "unrecognized options: more"),
    ],
)
def test_a_wrong_command_is_refused(numformer, refused, words, message):
    refused(lambda: numformer(*words), message)


READING = ["generate", "evaluate", "info"]


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], ": RUN"),
        (["nowhere"], "there is no folder nowhere"),
        (["text.txt"], "text.txt is a file that is no model"),
        (["."], "there is no config.json"),
        (["nowhere", "--nonsense"], "unrecognized options: --nonsense"),
    ],
)
def test_a_wrong_run_is_refused(numformer, refused, command, words, message):
    refused(lambda: numformer(command, *words), message)


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\0" * len(b), None])
def test_a_damaged_or_missing_file_of_a_run_is_named(here, copied_run, numformer, refused, command, name, damage):
    file = copied_run / name
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    refused(lambda: numformer(command, copied_run), name)


@pytest.fixture
def copied_run(here, finished_run):
    copy = here / "copy"
    for path in finished_run.iterdir():
        if path.is_file():
            copy.mkdir(exist_ok=True)
            (copy / path.name).write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt=é"], "the character 'é' at position 0 is not among the 14 characters of the vocabulary"),
        (["--seed=-1"], "seed must be a whole number of at least 0, got -1"),
        (["--max-new-tokens=-1"], "max_new_tokens must be a whole number of at least 0, got -1"),
        (["--num-samples=0"], "num_samples must be at least 1, got 0"),
        (["--temperature=-1"], "got temperature=-1.0, expected a finite number of at least 0"),
        (["--temperature=hot"], "--temperature takes a number, got 'hot'"),
        (["--top-p=2"], "got top_p=2.0"),
        (["--top-k=-1"], "got top_k=-1"),
        (["--stop", ""], "expected a list of strings of at least one character each"),
    ],
)
def test_wrong_options_of_generate_are_refused(finished_run, numformer, refused, words, message):
    refused(lambda: numformer("generate", finished_run, *words), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data=nowhere.txt"], "there is no file nowhere.txt"),
        (["--data=empty.txt"], "empty.txt is empty"),
        (["--data=one.txt"], "at least 2 tokens, got 1"),
        (["--data=latin1.txt"], "latin1.txt is not UTF-8"),
        (["--data=other.txt"], "other.txt: the character 'z'"),
        (["--max-windows=0"], "max_windows must be at least 1, got 0"),
    ],
)
def test_wrong_options_of_evaluate_are_refused(wrong_files, here, finished_run, numformer, refused, words, message):
    (here / "one.txt").write_text("t")
    (here / "other.txt").write_text("zzz\n")
    refused(lambda: numformer("evaluate", finished_run, *words), message)


def test_a_model_without_a_run_asks_for_a_text(here, finished_run, numformer, refused):
    shutil.copytree(finished_run / "best", here / "model")
    refused(lambda: numformer("evaluate", here / "model"), "has no run.toml; name the data")


def test_the_best_weights_of_a_run_are_evaluated_on_its_held_out_text(finished_run, numformer):
    assert numformer("evaluate", finished_run / "best").status == 0


def test_a_batch_too_large_for_the_memory_says_what_to_try(here, train):
    result = train(train__batch_size=10**15)
    assert result.status == 2
    assert result.err.splitlines()[-1].startswith("numformer: not enough memory: try a smaller batch_size")
    assert "Traceback" not in result.err


@pytest.mark.parametrize("failing", [1, 3, 5, 8])
def test_a_disk_that_fills_up_leaves_whole_files(here, train, numformer, monkeypatch, failing):
    """The disk is full from the n-th write of the resumed run on."""
    train()
    calls, fsync = [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) >= failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = numformer("train", "lm", "--out=run", "--resume", "--train.steps=8")
    assert result.status == 2
    assert result.err.splitlines()[-1].startswith("numformer: could not write run/")
    assert result.err.endswith(": No space left on device\n")
    assert not list(here.rglob("*.tmp"))
    assert numformer("info", "run").status == 0
    assert numformer("info", "run/best").status == 0
    assert numformer("train", "lm", "--out=run", "--resume", "--train.steps=8", "--sample=0").status == 0


def test_a_real_limit_on_file_sizes_leaves_the_run_as_it_was(here, train, snapshot):
    train()
    before = snapshot(here / "run")
    limit = (here / "run" / "model.safetensors").stat().st_size - 100
    result = subprocess.run(
        [sys.executable, "-m", "numformer", "train", "lm", "--out=run", "--resume", "--train.steps=9"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 2
    error = "numformer: could not write run/state/checkpoint.safetensors: File too large"
    assert [line.startswith(error) for line in result.stderr.splitlines()] == [False, True]
    after = snapshot(here / "run")
    assert {name: data for name, data in after.items() if name.name != "run.toml"} == {
        name: data for name, data in before.items() if name.name != "run.toml"
    }


def test_a_message_of_several_lines_is_printed_as_one(here, numformer, refused):
    refused(lambda: numformer("generate", "no\nwhere"), "there is no folder no where")


def test_a_broken_option_of_every_command_is_refused(numformer, refused):
    for name in COMMANDS:
        refused(lambda name=name: numformer(*name.split(), "--no-such-option"), f"see numformer {name} --help")


def test_ctrl_c_outside_training_is_status_130(finished_run, monkeypatch):
    def interrupt(*words, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("numformer.cli.info.open_run", interrupt)
    assert main(["info", str(finished_run)]) == 130
