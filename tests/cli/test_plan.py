"""`numformer plan`, as a user and a program see it."""

import json
import sys

import pytest

from numformer import GPT
from numformer.models.disk import to_disk


@pytest.fixture
def plan(numformer):
    return lambda *words: numformer("plan", *words)


def test_a_pipe_gets_json(plan):
    found = plan("--config", "gpt2", "--mesh", "data=4,model=2", "--batch-size", 32)
    facts = json.loads(found.out)
    assert found.status == 0
    assert (facts["num_parameters"], facts["num_devices"], facts["fits"]) == (124_439_808, 8, True)
    assert facts["memory"]["total"] == sum(size for name, size in facts["memory"].items() if name != "total")


def test_a_person_gets_a_table(plan, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    found = plan("--config", "llama-2-70b", "--mesh", "fsdp=64,model=4", "--batch-size", 256, "--recompute")
    assert found.status == 0
    for line in ("68,976,648,192 parameters, 80 layers", "256 devices of 80 GB", "optimizer state", "weights gathered"):
        assert line in found.out


def test_a_mesh_that_does_not_fit_is_refused_with_what_would(plan):
    found = plan("--config", "llama-3-8b", "--mesh", "data=8", "--batch-size", 8)
    assert found.status == 2
    assert json.loads(found.out)["fits"] is False
    assert found.err.startswith("numformer: --mesh data=8 does not fit: each device needs ")
    assert found.err.endswith("; --mesh fsdp=8 (8 devices) with --recompute would, at 57.0 GB\n")


def test_larger_devices_take_what_smaller_ones_do_not(plan):
    words = ("--config", "llama-3-8b", "--mesh", "data=8", "--batch-size", 8, "--recompute")
    assert (plan(*words).status, plan(*words, "--hbm", 300).status) == (2, 0)


def test_a_config_json_or_its_folder_does(plan, tmp_path):
    model = GPT(vocab_size=30, d_model=16, num_heads=2, num_layers=1)
    (tmp_path / "config.json").write_text(json.dumps(to_disk(model)))
    for path in (tmp_path, tmp_path / "config.json"):
        assert json.loads(plan("--config", path).out)["num_parameters"] == model.num_parameters()


def test_a_recipe_says_how_it_trains(plan, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[model]\nd_model = 16\n[optim]\noptimizer = 'sgd'\n[train]\nbatch_size = 16\nrecompute = true\n")
    facts = json.loads(plan("--config", recipe, "--vocab-size", 65).out)
    assert [facts[name] for name in ("batch_size", "optimizer", "recompute")] == [16, "sgd", True]
    assert json.loads(plan("--config", recipe, "--vocab-size", 65, "--batch-size", 8).out)["batch_size"] == 8
    assert plan("--config", recipe, "--vocab-size", 65, "--task", "seq2seq").status == 0


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("", {"batch_size": 32, "precision": "float32", "num_devices": 1}),  # as training itself has it
        ("backend = 'jax'\nmesh = 'data=4'\nprecision = 'bfloat16'", {"num_devices": 4, "precision": "bfloat16"}),
        (
            "batch_tokens = 160\nbackend = 'jax'\nmesh = 'data=4'",
            {"batch_size": 12},
        ),  # of 16 tokens each, in four parts
    ],
)
def test_what_a_recipe_does_not_say_is_what_its_training_does(plan, tmp_path, train, expected):
    (tmp_path / "recipe.toml").write_text(f"task = 'mlm'\n[model]\nd_model = 16\nmax_seq_len = 16\n[train]\n{train}\n")
    facts = json.loads(plan("--config", tmp_path / "recipe.toml", "--vocab-size", 65).out)
    assert {name: facts[name] for name in expected} == expected


def test_a_recipe_may_train_on_shorter_sequences_than_its_model_reads(plan, tmp_path):
    (tmp_path / "recipe.toml").write_text("sequence_length = 8\n[model]\nd_model = 16\nmax_seq_len = 16\n")
    found = plan("--config", tmp_path / "recipe.toml", "--vocab-size", 65)
    assert json.loads(found.out)["sequence_length"] == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "plan needs a model: --config FILE, or a name such as gpt2"),
        (["--config", "model.gguf"], "model.gguf: plan reads the config.json of a model, not a GGUF file"),
        (["--config", "empty"], "there is no file empty/config.json, and no model of that name (known are gpt2, "),
        (["--config", "gpt9"], "there is no file gpt9, and no model of that name (known are gpt2, "),
        (["--config", "gpt2", "--mesh", "date=4"], "a mesh has the axes data, fsdp, model"),
        (["--config", "gpt2", "--mesh", "model=5"], "num_heads=12 cannot be divided over model=5"),
        (["--config", "gpt2", "--sequence-length", "0"], "sequence_length must be at least 1, got 0"),
        (["--config", "tokens.toml", "--sequence-length", "0"], "sequence_length must be at least 1, got 0"),
        (["--config", "gpt2", "--accumulation", "0"], "accumulation must be at least 1, got 0"),
        (["--config", "gpt2", "--hbm", "0"], "--hbm must be a number of GB above 0, got 0"),
        (["--config", "gpt2", "--hbm", "nan"], "--hbm must be a number of GB above 0, got nan"),
        (["--config", "gpt2", "--vocab-size", "5"], "the config has vocab_size=50257: leave out --vocab-size"),
        (["--config", "gpt2", "--batch-size", "3", "--mesh", "data=2"], "take a multiple of 2"),
        (["--config", "gpt2", "--task", "dance"], "dance"),
        (["--config", "recipe.toml"], "vocab_size comes from the tokenizer: say how many tokens with --vocab-size"),
        (["--config", "none.toml"], "there is no none.toml"),
        (
            ["--config", "from.toml"],
            "from.toml starts from minilm, which says the shape: give --config the folder of that",
        ),
        (["--config", "part.toml"], "part.toml trains a part of the weights alone, and a plan is of all"),
        (["--config", "half.toml"], "half.toml has the precision float16-storage of NumPy, and a plan is of JAX"),
        (["--config", "config.json"], "config.json: model_type is 'mamba', supported are "),
        (["--config", "broken.json"], "broken.json"),
        (["--config", "gpt2", "--hbm", "0.001"], "no mesh of the sizes that are looked at does"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(words, message, plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text("[model]\nd_model = 16\n")
    (tmp_path / "from.toml").write_text("from = 'minilm'\n")
    (tmp_path / "part.toml").write_text("freeze = ['token_embedding']\n[model]\nd_model = 16\n")
    (tmp_path / "tokens.toml").write_text("[train]\nbatch_tokens = 64\n[model]\nd_model = 16\nvocab_size = 9\n")
    (tmp_path / "half.toml").write_text("[train]\nprecision = 'float16-storage'\n[model]\nd_model = 16\n")
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty").mkdir()
    found = plan(*words)
    assert found.status == 2
    assert message in found.err
    assert len(found.err.splitlines()) == 1
