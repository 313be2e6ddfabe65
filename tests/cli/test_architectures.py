"""Runs of an architecture that is not the task's own: run.toml names it, and --resume and --config read it back."""

import tomllib

import pytest

from numformer import Classifier, LanguageModel
from numformer.models import GPTConfig, LlamaConfig
from numformer.models.decoder import Decoder
from numformer.models.registry import ARCHITECTURES
from numformer.pretrained import load_model

SHAPE = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 8}
LLAMA = LlamaConfig(**SHAPE, num_kv_heads=1)
FIT = {"batch_size": 4, "shards": 2, "lr": 1e-3, "schedule": "constant", "warmup_steps": 0, "progress": False}
WEIGHTS = ("model.safetensors", "state/checkpoint.safetensors")
TRAINING = ("--train.steps=2", "--train.batch-size=4", "--train.shards=2", "--optim.schedule=constant", "--sample=0")


def settings_of(folder):
    return tomllib.loads((folder / "run.toml").read_text())


def same_weights(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in WEIGHTS)


def test_a_llama_made_in_python_is_resumed_from_the_command_line(here, numformer):
    for out, steps in (("run", 2), ("whole", 4)):
        LanguageModel.from_text("text.txt", config=LLAMA).fit(out=out, steps=steps, **FIT)
    assert settings_of(here / "run")["model"]["model_type"] == "llama"
    result = numformer("train", "lm", "--out=run", "--resume", "--train.steps=4", "--sample=0")
    assert result.status == 0, result.err
    assert same_weights(here / "run", here / "whole")
    assert settings_of(here / "run") == settings_of(here / "whole") | {"sample": 0, "prompt": ""}


def test_a_run_that_started_from_a_llama_is_resumed_and_repeated(here, numformer):
    LanguageModel.from_text("text.txt", config=LLAMA).save("llama")
    words = ("train", "lm", "--data=text.txt", "--from=llama", *TRAINING)
    assert numformer(*words, "--out=run").status == 0
    assert numformer(*words, "--out=whole", "--train.steps=4").status == 0
    assert numformer("train", "lm", "--config=run/run.toml", "--out=again", "--sample=0").status == 0
    assert same_weights(here / "run", here / "again")
    result = numformer("train", "lm", "--out=run", "--resume", "--train.steps=4", "--sample=0")
    assert result.status == 0, result.err
    assert same_weights(here / "run", here / "whole")


def test_a_classifier_that_started_from_a_gpt_is_resumed(here, numformer):
    rows = [f"the {a} sat on the {b},{a}" for a in ("cat", "dog") for b in ("mat", "hat")] * 4
    (here / "animals.csv").write_text("\n".join(("text,label", *rows)) + "\n")
    LanguageModel.from_text("text.txt", **SHAPE).save("gpt")
    for out, steps in (("run", 2), ("whole", 4)):
        Classifier.from_data("animals.csv", pretrained="gpt").fit(out=out, steps=steps, **FIT)
    assert settings_of(here / "run")["model"]["model_type"] == "gpt2"
    result = numformer("train", "classify", "--out=run", "--resume", "--train.steps=4")
    assert result.status == 0, result.err
    assert same_weights(here / "run", here / "whole")


def test_a_run_from_before_the_architecture_was_written_still_goes_on(here):
    def task():
        return LanguageModel.from_text("text.txt", config=LLAMA)

    task().fit(out="run", steps=2, **FIT)
    toml = here / "run" / "run.toml"
    toml.write_text(toml.read_text().replace('model_type = "llama"\n', ""))
    assert task().fit(out="run", resume=True, steps=3, **FIT).step == 3


def test_the_tasks_own_architecture_is_not_written(here):
    LanguageModel.from_text("text.txt", config=GPTConfig(**SHAPE)).fit(out="run", steps=1, **FIT)
    assert "model_type" not in settings_of(here / "run")["model"]


def test_a_file_of_options_may_choose_an_architecture(here, numformer):
    (here / "llama.toml").write_text('[model]\nmodel_type = "llama"\nd_model = 16\nnum_kv_heads = 1\nmax_seq_len = 8\n')
    words = ("--config=llama.toml", "--data=text.txt", "--out=run", "--model.num-layers=1")
    assert numformer("train", "lm", *words, *TRAINING).status == 0
    config = load_model("run").config
    assert (type(config), config.num_kv_heads, config.num_layers) == (LlamaConfig, 1, 1)


DECODERS = sorted(name for name, each in ARCHITECTURES.items() if issubclass(each.model, Decoder))
PARTICULAR = {  # settings that only some have, and that are tables or lists in a file
    "llama": 'rope_scaling = {rope_type = "llama3", factor = 4.0, original_max_seq_len = 4}',
    "mistral": "sliding_window = 3",
    "gemma2": 'sliding_window = 3\nlayer_types = ["full_attention"]',
    "gemma3_text": "sliding_window = 3\nhead_dim = 4",
    "qwen3": 'sliding_window = 3\nlayer_types = ["sliding_attention"]',
    "gpt_neox": "rotary_pct = 0.5",
}


@pytest.mark.parametrize("kind", DECODERS)
def test_every_decoder_is_trained_resumed_asked_and_shown_by_the_commands(here, numformer, kind):
    lines = (f'model_type = "{kind}"', "d_model = 16", "num_heads = 2", "num_layers = 1", "max_seq_len = 8")
    (here / "my.toml").write_text("\n".join(("[model]", *lines, PARTICULAR.get(kind, ""), "")))
    words = ("train", "lm", "--config=my.toml", "--data=text.txt", *TRAINING)
    assert numformer(*words, "--out=run").status == 0
    assert numformer(*words, "--out=whole", "--train.steps=4").status == 0
    result = numformer("train", "lm", "--out=run", "--resume", "--train.steps=4", "--sample=0")
    assert result.status == 0, result.err
    assert same_weights(here / "run", here / "whole")
    result = numformer("generate", "run", "--prompt=the", "--max-new-tokens=12")
    assert result.status == 0, result.err
    assert numformer("evaluate", "run").status == numformer("info", "run").status == 0
    result = numformer("attention", "run", "the cat", "--out=map.png")
    assert result.status == 0, result.err
    assert load_model("run").config.model_type == kind


@pytest.mark.parametrize(
    ("task", "kind", "known"),
    [
        ("lm", '"lama"', "gemma2, gemma3_text, gpt2, gpt_neox, llama, mistral, qwen2, qwen3"),
        ("lm", '"bert"', "gemma2, gemma3_text, gpt2, "),
        ("lm", "[3]", "gemma2, gemma3_text, gpt2, "),
        ("summarise", '"llama"', "bart, t5, transformer"),
    ],
)
def test_an_architecture_that_does_not_do_the_task_is_refused(here, refused, numformer, task, kind, known):
    (here / "my.toml").write_text(f"[model]\nmodel_type = {kind}\n")
    message = f"my.toml [model]: model_type is {kind.replace(chr(34), chr(39))}, for {task} choose {known}"
    refused(lambda: numformer("train", task, "--config=my.toml", "--data=text.txt", "--out=run"), message)
