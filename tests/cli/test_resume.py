"""`numformer train TASK --resume`: what is said where a run cannot go on, or has nothing to do."""

import json
import tomllib

import pytest

from numformer import LanguageModel

GROWN = {
    "classify": ("reviews.csv", "Ann waits,pos\n", "24 examples then, 25 now"),
    "regress": ("prices.csv", "Ann waits,3.5\n", "24 examples then, 25 now"),
    "seq2seq": ("pairs.tsv", "Ann waits.\tANN WAITS.\n", "24 examples then, 25 now"),
    "tag": ("ner.conll", "\nXerxes B-PER\n", "24 examples then, 25 now"),
    "mlm": ("text.txt", "ξένος\n", "bytes then, "),
}


@pytest.mark.parametrize("task", GROWN)
def test_data_that_has_grown_is_named_with_its_sizes(examples, train_task, numformer, refused, task):
    file, more, sizes = GROWN[task]
    train_task(task, train__eval_every=4)
    with (examples / file).open("a") as opened:
        opened.write(more)
    call = lambda: numformer("train", task, "--out=run", "--resume", "--train.steps=6")  # noqa: E731
    refused(call, "cannot resume: the data of run has changed since the run began: ")
    refused(call, sizes)
    refused(lambda: numformer("evaluate", "run"), "the data of run has changed since the run began: ")


def test_a_text_with_new_characters_is_said_to_have_changed(here, train, numformer, refused):
    train()
    (here / "text.txt").write_text((here / "text.txt").read_text() + "Ω!\n")
    refused(lambda: numformer("train", "lm", "--out=run", "--resume"), "cannot resume: the data of run has changed")
    refused(lambda: numformer("evaluate", "run"), "the data of run has changed since the run began")


@pytest.mark.parametrize("task", ["classify", "seq2seq", "mlm"])
def test_another_tokenizer_is_said_to_be_one(train_task, numformer, refused, task):
    train_task(task)
    words = ("train", task, "--out=run", "--resume", "--train.steps=6", "--tokenizer=bytes")
    refused(lambda: numformer(*words), "cannot resume: tokenizer is 'bytes', but the run has '")


@pytest.mark.parametrize("task", ["classify", "mlm"])
def test_data_that_was_moved_is_asked_for(examples, train_task, numformer, refused, task):
    train_task(task)
    file = examples / {"classify": "reviews.csv", "mlm": "text.txt"}[task]
    file.rename(examples / f"moved{file.suffix}")
    words = ("train", task, "--out=run", "--resume", "--train.steps=6")
    gone = f"{file}, which run was trained on, is not there any more: "
    refused(lambda: numformer(*words), f"{gone}say with --data where it is")
    refused(lambda: numformer("evaluate", "run"), f"{gone}name a ")
    assert numformer(*words, f"--data=moved{file.suffix}").status == 0
    assert numformer("evaluate", "run").status == 0


def test_a_finished_run_says_so_in_one_line_and_shows_no_sample(here, train, numformer, snapshot):
    train(sample=5)
    before = snapshot(here)
    result = numformer("train", "lm", "--out=run", "--resume")
    assert (result.status, result.out) == (0, "")
    assert result.err.splitlines()[-1] == "run: nothing to do, it has made its 4 steps; more steps go on"
    assert snapshot(here) == before


def test_a_run_that_stopped_early_says_what_goes_on(here, train, numformer):
    train(train__steps=50, train__eval_every=1, train__patience=1, optim__lr=0.9)
    result = numformer("train", "lm", "--out=run", "--resume")
    assert result.status == 0
    assert "for want of improvement; a larger patience than 1 goes on" in result.err


def test_the_sample_of_a_run_is_kept(here, train, numformer):
    assert len(train(sample=5, prompt="the ").out.rstrip("\n")) <= 9
    settings = tomllib.loads((here / "run" / "run.toml").read_text())
    assert (settings["sample"], settings["prompt"]) == (5, "the ")
    resumed = numformer("train", "lm", "--out=run", "--resume", "--train.steps=6")
    assert resumed.out.startswith("the ")
    assert "a sample of 5 tokens, by the weights of step " in resumed.err
    assert numformer("train", "lm", "--out=run", "--resume", "--train.steps=8", "--sample=0").out == ""


def test_fewer_steps_than_were_made_are_refused_with_the_way_out(here, train, numformer, refused):
    train()
    refused(
        lambda: numformer("train", "lm", "--out=run", "--resume", "--train.steps=3"),
        "the run run has made 4 steps already and cannot end at steps=3: give more steps to continue it",
    )


def test_info_names_a_damaged_line_of_the_record(here, train, numformer, refused):
    train(train__log_every=1)
    file = here / "run" / "metrics.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")
    refused(lambda: numformer("info", "run"), "run/metrics.jsonl, line 2 is damaged: ")
    file.write_text("\n".join(lines)[:-9])
    assert f"{json.loads(lines[2])['step']} steps in" in numformer("info", "run").out


def test_settings_of_a_run_that_was_resumed_with_others_say_that_they_do_not_repeat_it(here, train, numformer):
    train()
    numformer("train", "lm", "--out=run", "--resume", "--train.steps=6", "--optim.lr=0.5")
    result = numformer("train", "lm", "--config=run/run.toml", "--out=again")
    assert result.status == 0
    assert result.err.startswith(
        "run/run.toml: the run had other settings up to step 4 (lr 0.001), which are not repeated\n"
    )


def test_characters_of_held_out_text_that_training_lacks_are_refused_with_the_ways_out(here, train, refused):
    (here / "valid.txt").write_text("the Ω sat.\n")
    refused(
        lambda: train(valid="valid.txt"),
        "valid.txt: the character 'Ω' at position 4 is not among the 14 characters of the vocabulary, which is that of the "
        "training text: take the tokenizer bytes or bpe, which know every character, or put it into the training text too",
    )


def test_a_run_of_the_command_line_that_python_continues_keeps_its_sample(here, train):
    train(sample=5)
    settings = {"steps": 6, "batch_size": 4, "shards": 2, "eval_every": 2, "progress": False}
    shape = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 8}
    LanguageModel.from_text("text.txt", **shape).fit(out="run", resume=True, **settings)
    assert tomllib.loads((here / "run" / "run.toml").read_text())["sample"] == 5


def test_an_option_that_fits_the_settings_of_the_run_alone_is_taken(here, train, numformer, refused):
    train()
    file = here / "run" / "run.toml"
    file.write_text(file.read_text().replace('backend = "numpy"', 'backend = "jax"'))
    pytest.importorskip("jax")
    words = ("train", "lm", "--out=run", "--resume", "--mesh=data=64", "--train.batch-size=64")
    refused(lambda: numformer(*words), "the mesh data=64 has 64 devices, but JAX finds ")


def test_an_option_that_fits_the_settings_of_a_recipe_alone_is_taken(here, train, numformer):
    (here / "recipe.toml").write_text("[model]\nd_model = 24\n")
    assert train(config="recipe.toml", model__d_model=24, model__num_heads=12).status == 0


def test_a_run_with_a_mesh_says_how_it_goes_on_in_numpy(here, train, numformer, refused):
    train()
    file = here / "run" / "run.toml"
    file.write_text(
        file.read_text().replace('backend = "numpy"', 'backend = "jax"').replace('mesh = ""', 'mesh = "data=2"')
    )
    words = ("train", "lm", "--out=run", "--resume", "--train.steps=6", "--backend=numpy")
    refused(
        lambda: numformer(*words),
        "the mesh data=2 is for the backend jax, got backend numpy: take an empty mesh (--mesh '')",
    )
    assert numformer(*words, "--mesh=").status == 0


def test_a_misspelt_folder_is_found(here, refused, numformer):
    refused(lambda: numformer("train", "lm", "--ot", "run", "--resume"), "unrecognized options: --ot")
