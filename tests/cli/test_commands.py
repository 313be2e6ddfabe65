import json
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from numformer.cli.main import COMMANDS
from numformer.cli.train import options_from_file
from numformer.pretrained import load_model
from numformer.training.run_folder import read_toml

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


def shell(command, **settings):
    """Run a shell command with `numformer` in it, its output buffered as usual."""
    command = command.replace("numformer", f"env -u PYTHONUNBUFFERED {sys.executable} -m numformer")
    return subprocess.run(["bash", "-c", command], capture_output=True, check=False, **settings)


# Training.


def test_training_ends_with_a_sample_and_where_things_are(here, train):
    result = train(sample=30)
    assert result.status == 0
    assert len(result.out.rstrip("\n")) <= 31
    assert result.out.strip()
    assert result.err.splitlines()[1].endswith("tokens of text to train on, run folder run")
    assert "finished after 4 steps" in result.err
    assert "best on held-out data: " in result.err
    for name in result.err.split("in run: ")[1].splitlines()[0].split(", "):
        assert (here / "run" / name).exists()


def test_the_folder_is_named_after_the_text(here, train):
    assert train(out=None).status == 0
    assert (here / "runs" / "text" / "model.safetensors").exists()


def test_paths_may_have_spaces_and_any_characters(here, train, numformer):
    (here / "mein Text é😀.txt").write_bytes((here / "text.txt").read_bytes())
    assert train(data="mein Text é😀.txt", out="Läufe/ein Lauf 😀").status == 0
    assert numformer("evaluate", "Läufe/ein Lauf 😀").status == 0


def test_a_text_without_newlines_is_trained_on_and_sampled(here, train):
    (here / "line.txt").write_text("one two three four " * 50)
    assert train(data="line.txt", sample=20).status == 0


def test_d_ff_follows_the_width_unless_it_is_given(here, train):
    def d_ff_of(**options):
        assert train("--overwrite", train__steps=0, **options).status == 0
        return load_model(here / "run").config.ff_width

    assert d_ff_of() == 64
    assert d_ff_of(model__d_ff=24) == 24
    (here / "wide.toml").write_text("[model]\nd_model = 64\n")
    assert d_ff_of(config="wide.toml") == 64
    assert d_ff_of(config="wide.toml", model__d_model=None) == 256


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(here, train):
    (here / "my.toml").write_text('data = "text.txt"\n[optim]\nlr = 0.5\nclip_norm = 3.0\nbetas = [0.8, 0.9]\n')
    assert train(config="my.toml", data=None, optim__lr=0.25).status == 0
    optim = tomllib.loads((here / "run" / "run.toml").read_text())["optim"]
    assert (optim["lr"], optim["clip_norm"], optim["betas"], optim["eps"]) == (0.25, 3.0, [0.8, 0.9], 1e-8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr = 0.1", "bad.toml: unknown setting lr; known are config, coordinator, data"),
        ("[optim]\nlearning_rate = 0.1", "bad.toml [optim]: unknown setting learning_rate; known are betas"),
        ('[optim]\nlr = "fast"', "bad.toml [optim]: lr must be float, got 'fast'"),
        ("[optim]\nlr = true", "bad.toml [optim]: lr must be float, got True"),
        ('[optim]\noptimizer = "rms"', "bad.toml [optim]: optimizer must be 'adamw' or 'adam' or 'sgd', got 'rms'"),
        ("[optim]\nbetas = [0.9]", "bad.toml [optim]: betas must be a list of 2, got [0.9]"),
        ("[optim]\nbetas = 0.9", "bad.toml [optim]: betas must be a list of 2, got 0.9"),
        ('[optim]\nbetas = ["a", 0.9]', "bad.toml [optim]: betas must be float, got 'a'"),
        ("[train]\nsteps = 1.5", "bad.toml [train]: steps must be int, got 1.5"),
        ("[train]\nsteps = -1", "bad.toml [train]: steps must be at least 0"),
        ("[train]\nrecompute = 1", "bad.toml [train]: recompute must be bool, got 1"),
        ("[model]\nnum_heads = 3", "bad.toml [model]: num_heads=3 does not divide d_model=128"),
        ("[model]\nd_ff = 'x'", "bad.toml [model]: d_ff must be int, got 'x'"),
        ("model = 3", "bad.toml: model must be a table [model], got 3"),
        ('task = "tag"', "bad.toml is for the task 'tag', not lm"),
        ("task = [", "bad.toml cannot be read as TOML"),
        ("a = " + "[" * 5000, "bad.toml cannot be read as TOML"),
    ],
)
def test_a_wrong_setting_names_the_file_and_the_key(here, train, refused, content, message):
    (here / "bad.toml").write_text(content)
    refused(lambda: train(config="bad.toml"), message)


def test_run_toml_repeats_the_run_to_the_same_bytes(here, train, numformer):
    train(model__dropout=0.1, optim__schedule="linear", train__seed=5)
    assert numformer("train", "lm", "--config=run/run.toml", "--out=again", "--sample=0").status == 0
    for name in ("model.safetensors", "best/model.safetensors", "state/checkpoint.safetensors", "run.toml"):
        assert (here / "run" / name).read_bytes() == (here / "again" / name).read_bytes()


def test_a_run_is_resumed_to_more_steps(here, train, numformer):
    train()
    assert numformer("train", "lm", "--out=run", "--resume", "--train.steps=8", "--sample=0").status == 0
    train(out="whole", train__steps=8)
    assert (here / "run" / "model.safetensors").read_bytes() == (here / "whole" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid(recipe):
    task = read_toml(recipe).get("task", "lm")
    assert options_from_file(recipe, task).train.steps > 0


def test_the_pydoc_text_needs_no_file(here, train, monkeypatch):
    monkeypatch.setenv("NUMFORMER_CACHE", str(here / "cache"))
    assert train(data="pydoc", out=None, train__eval_examples=10).status == 0
    assert (here / "runs" / "pydoc" / "run.toml").exists()


def test_bytes_that_are_not_utf8_are_trained_on_and_generated(here, train):
    data = bytes(range(256)) * 8
    (here / "data.bin").write_bytes(data)
    assert train(data="data.bin", tokenizer="bytes").status == 0
    done = shell("numformer generate run --prompt $'\\xff\\xfe' --max-new-tokens 50")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"\xff\xfe")
    assert 1 <= len(done.stdout[2:].decode()) <= 51, "what is generated can be printed"


# Reading a run.


def test_generate_prints_the_prompt_and_goes_on(finished_run, numformer):
    result = numformer("generate", finished_run, "--prompt", "the cat", "--max-new-tokens", 20)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("the cat")
    assert len(result.out) == len("the cat") + 20 + 1


@pytest.fixture
def pipe(monkeypatch):
    """Put a pipe on standard input and return its other end, which stays open until it is closed."""
    read, write = os.pipe()
    with os.fdopen(read) as stdin, os.fdopen(write, "wb") as end:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield end


@pytest.mark.parametrize(
    ("data", "prompt"),
    [(b"the \n", "the "), (b"the \r\n", "the "), (b"the cat", "the cat"), (b"on\n\n", "on\n"), (b"\xef\xbb\xbfa", "a")],
)
def test_generate_continues_what_comes_through_a_pipe(finished_run, numformer, pipe, data, prompt):
    pipe.write(data)
    pipe.close()
    found = numformer("generate", finished_run, "--max-new-tokens", 20)
    assert found == numformer("generate", finished_run, "--max-new-tokens", 20, "--prompt", prompt)
    assert (found.status, found.err) == (0, "")
    assert found.out.startswith(prompt)


def test_generate_continues_a_file_on_standard_input_and_nothing_from_the_null_device(here, finished_run, numformer):
    (here / "prompt.txt").write_text("the cat\n")
    run = f"numformer generate {finished_run} --max-new-tokens 20"
    expected = {
        text: numformer("generate", finished_run, "--max-new-tokens=20", f"--prompt={text}").out
        for text in ("the cat", "")
    }
    for command, text in ((f"{run} < prompt.txt", "the cat"), (f"{run} < /dev/null", ""), (f"{run} <&-", "")):
        done = shell(command)
        assert (done.returncode, done.stderr, done.stdout.decode()) == (0, b"", expected[text])


@pytest.mark.timeout(20)
def test_generate_does_not_wait_for_a_pipe_when_it_has_a_prompt(finished_run, numformer, pipe):
    assert numformer("generate", finished_run, "--prompt", "the", "--max-new-tokens", 0).out == "the\n"
    assert numformer("generate", finished_run, "--prompt", "", "--max-new-tokens", 5).status == 0


def test_generate_says_what_it_waits_for_when_a_pipe_is_silent(finished_run, numformer, pipe, monkeypatch):
    monkeypatch.setattr("numformer.cli.generate.SAID_AFTER", 0.01)
    threading.Timer(0.3, lambda: (pipe.write(b"the"), pipe.close())).start()
    found = numformer("generate", finished_run, "--max-new-tokens", 0)
    assert (found.out, found.err) == (
        "the\n",
        'waiting for a prompt on standard input; --prompt "" begins without one\n',
    )


def test_a_prompt_through_a_pipe_that_the_vocabulary_lacks_is_refused(finished_run, refused, numformer, pipe):
    pipe.write(b"\xff")
    pipe.close()
    refused(lambda: numformer("generate", finished_run), "the character '\\udcff' at position 0 is not among")


def test_generate_follows_its_seed(finished_run, numformer):
    texts = [numformer("generate", finished_run, "--seed", seed).out for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_generate_gives_several_samples(finished_run, numformer):
    alone = numformer("generate", finished_run, "--prompt", "the", "--max-new-tokens", 12).out
    out = numformer("generate", finished_run, "--prompt", "the", "--max-new-tokens", 12, "--num-samples", 3).out
    parts = out.split("--- sample ")[1:]
    assert [part.splitlines()[0] for part in parts] == ["1 of 3 ---", "2 of 3 ---", "3 of 3 ---"]
    assert parts[0].partition("\n")[2].startswith(alone.rstrip("\n"))


@pytest.mark.parametrize("stop", [["t"], ["\n", "h"]])
def test_generate_ends_before_a_stop_string(finished_run, numformer, stop):
    free = numformer("generate", finished_run, "--prompt", "a").out[1:-1]
    stopped = numformer("generate", finished_run, "--prompt", "a", "--stop", *stop).out[1:-1]
    assert stopped == free[: min(free.find(s) for s in stop)]


def test_temperature_0_is_greedy_whatever_else_is_asked(finished_run, numformer):
    texts = {
        numformer("generate", finished_run, "--temperature", 0, "--top-k", 5, "--top-p", 0.5, "--seed", seed).out
        for seed in range(3)
    }
    assert len(texts) == 1


def test_no_new_tokens_print_nothing_new(finished_run, numformer):
    assert numformer("generate", finished_run, "--prompt", "the", "--max-new-tokens", 0).out == "the\n"


def test_evaluate_prints_the_validation_loss_of_the_run(finished_run, numformer):
    result = numformer("evaluate", finished_run)
    found = json.loads(result.out)
    last = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert found.keys() == {"loss", "perplexity", "tokens"}
    assert found["loss"] == last["val_loss"]


def test_evaluate_takes_a_text(here, finished_run, numformer):
    found = json.loads(numformer("evaluate", finished_run, "--data", "text.txt").out)
    assert found["tokens"] == len((here / "text.txt").read_text()) - 1
    assert json.loads(numformer("evaluate", finished_run, "--data", "text.txt", "--max-windows", 2).out)["tokens"] == 16


def test_evaluate_uses_the_validation_file_of_the_run(here, train, numformer):
    (here / "valid.txt").write_text("the cat sat.\n")
    train(valid="valid.txt")
    assert json.loads(numformer("evaluate", "run").out)["tokens"] == 12


@pytest.mark.parametrize("part", ["", "best"])
def test_info_describes_a_run_and_its_best(finished_run, numformer, part):
    result = numformer("info", finished_run / part)
    assert (result.status, result.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert rows["model"].startswith("GPT, 3,")
    assert rows["shape"] == "1 layer, width 16, 2 heads, d_ff 64"
    assert rows["context"] == "8 tokens"
    assert rows["tokenizer"] == "CharacterTokenizer, 14 tokens"
    assert ("training" in rows) is (part == "")


def test_info_lists_layers_when_asked(finished_run, numformer):
    assert "self_attn" in numformer("info", finished_run, "--layers").out


def test_data_list_names_every_text(numformer):
    result = numformer("data", "list")
    assert result.status == 0
    assert [line.split()[0] for line in result.out.splitlines()] == ["pydoc", "tinyshakespeare"]


def test_data_fetch_prints_where_the_text_is(here, numformer):
    result = numformer("data", "fetch", "pydoc", "--folder", "texts")
    assert Path(result.out.strip()).read_text()


# Help and pipes.


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], []])
def test_help_names_every_command(numformer, words):
    result = numformer(*words)
    assert result.status == 0
    assert all(name in result.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(numformer, name):
    result = numformer(*name.split(), "--help")
    assert result.status == 0
    assert f"numformer {name}" in result.out
    assert result.err == ""


@pytest.mark.parametrize("group", ["train", "data"])
def test_a_group_lists_its_commands(numformer, group):
    result = numformer(group)
    assert result.status == 0
    assert all(line.startswith(f"numformer {group} ") for line in result.out.splitlines())


def test_the_version_is_printed(numformer):
    assert numformer("--version").out.startswith("numformer 0.")


@pytest.mark.parametrize("reader", ["head -c 1", "true"])
@pytest.mark.parametrize("command", ["generate {} --max-new-tokens 3000", "info {} --layers", "info --help", "--help"])
def test_a_reader_that_has_seen_enough_causes_no_complaint(finished_run, command, reader):
    done = shell(f"numformer {command.format(finished_run)} | {reader}; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_line(finished_run):
    done = shell(f"numformer info {finished_run} > /dev/full", text=True)
    assert (done.returncode, done.stderr) == (2, "numformer: input/output: No space left on device\n")


def test_text_is_printed_as_utf8_whatever_the_locale(here, train):
    (here / "greek.txt").write_text("αβγδε ζηθ\n" * 60)
    train(data="greek.txt")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = shell("numformer generate run --prompt αβγ --max-new-tokens 5", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith("αβγ")
