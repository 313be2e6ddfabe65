"""Runs that train adapters: what they keep, how they are continued, loaded and merged."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

import numformer as nf
from numformer import ByteTokenizer, InputError, LanguageModel, Llama
from numformer.cli.main import main
from numformer.pretrained import LoRAConfig, adapter_of
from numformer.tasks.chat_model import open_chat_model

BYTES = (
    "adapter_model.safetensors",
    "adapter_config.json",
    "state/checkpoint.safetensors",
    "best/adapter_model.safetensors",
    "run.toml",
)
SOUNDS = {"cat": "purrs", "dog": "barks"}
ROWS = [{"prompt": f"{a} {number} ", "completion": f"{b}."} for a, b in SOUNDS.items() for number in range(12)]
CHATS = [
    {"messages": [{"role": "user", "content": f"the {a}"}, {"role": "assistant", "content": "sat on the mat"}]}
    for a in ("cat", "dog", "man", "hen")
]
LORA = LoRAConfig(rank=2, alpha=4.0, dropout=0.1, targets=("q_proj", "v_proj"))
FIT = {"steps": 6, "batch_size": 4, "shards": 2, "eval_every": 3, "lr": 1e-2, "progress": False}
OPTIONS = {
    **{"lora.rank": 2, "lora.dropout": 0.1, "train.batch-size": 4, "train.shards": 2, "train.eval-every": 5},
    **{"train.log-every": 1, "train.steps": 60, "optim.lr": 1e-2, "sample": 0},
}


@pytest.fixture
def base(tmp_path):
    tokenizer = ByteTokenizer()
    model = Llama(vocab_size=tokenizer.vocab_size, d_model=16, num_heads=2, num_layers=2, max_seq_len=16)
    LanguageModel(model, tokenizer).save(tmp_path / "base")
    (tmp_path / "examples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return tmp_path / "base"


def make(base, **settings):
    examples = base.parent / "examples.jsonl"
    return LanguageModel.from_text(examples, pretrained=base, **{"lora": LORA, "valid_fraction": 0.2} | settings)


@pytest.fixture
def run(base):
    make(base).fit(**FIT, out=base.parent / "run")
    return base.parent / "run"


def process(folder, *more, **options):
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "numformer", "train", "lm", f"--out={folder}", *words, *more]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)


def test_the_base_stays_as_it_is_to_the_bit(base):
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    lm = make(base)
    weights = {name: p.data.copy() for name, p in lm.model.named_parameters() if "lora_" not in name}
    lm.fit(**FIT, out=base.parent / "run")
    for name, value in weights.items():
        np.testing.assert_array_equal(dict(lm.model.named_parameters())[name].data, value)
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before
    assert any(p.data.any() for name, p in lm.model.named_parameters() if name.endswith("lora_B"))


def test_a_run_keeps_only_what_changes(run):
    names = load_file(run / "state" / "checkpoint.safetensors").keys()
    parts = {name.rpartition(".")[2] for name in names if name.startswith("model.")}
    assert parts == {"lora_A", "lora_B"}
    assert {path.name for path in run.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    }
    assert not (run / "model.safetensors").exists()
    assert sum(path.stat().st_size for path in run.rglob("*.safetensors")) < 40_000


def test_run_toml_names_the_base_with_its_checksum(run, base):
    settings = nf.training.run_folder.read_toml(run / "run.toml")
    assert settings["pretrained"] == str(base)
    assert settings["base_crc32"] == adapter_of(nf.load(run).model).base_crc32
    assert settings["lora"] == {"rank": 2, "alpha": 4.0, "dropout": 0.1, "targets": ["q_proj", "v_proj"]}


def test_a_loaded_run_has_its_best_weights_on_its_base(run):
    lm, last = nf.load(run), nf.load(run, last=True)
    lm.load_held_out(run)
    best = min(line["val_loss"] for line in map(json.loads, (run / "metrics.jsonl").open()) if "val_loss" in line)
    assert lm.evaluate()["loss"] == pytest.approx(best, rel=1e-6)
    assert isinstance(last.tokenizer, ByteTokenizer)


def test_training_adapters_lowers_the_loss_on_held_out_answers(base):
    lm = make(base)
    before = lm.evaluate()["loss"]
    result = lm.fit(**FIT | {"steps": 40, "eval_every": 10, "lr": 3e-2})
    assert result.best_loss < before - 0.1
    assert lm.evaluate()["loss"] == pytest.approx(result.best_loss, rel=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(base, threads):
    folder = base.parent
    options = OPTIONS | {"data": folder / "examples.jsonl", "from": base, "train.threads": threads}
    whole, killed = process(folder / "whole", **options), process(folder / "killed", **options)
    metrics = folder / "killed" / "metrics.jsonl"
    while killed.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < 12):
        time.sleep(0.002)
    killed.kill()
    killed.communicate()
    _, err = whole.communicate(timeout=60)
    assert whole.returncode == 0, err
    again = process(folder / "killed", "--resume")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    for name in BYTES:
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name


def test_a_run_is_not_resumed_on_a_base_with_other_weights(run, base):
    tokenizer = ByteTokenizer()
    other = Llama(vocab_size=tokenizer.vocab_size, d_model=16, num_heads=2, num_layers=2, max_seq_len=16, seed=9)
    LanguageModel(other, tokenizer).save(base)
    assert main(["train", "lm", "--out", str(run), "--resume", "--train.steps", "8", "--sample", "0"]) == 2


def test_a_run_is_not_resumed_with_other_adapters(run, capsys):
    assert main(["train", "lm", "--out", str(run), "--resume", "--lora.rank", "3", "--sample", "0"]) == 2
    assert "cannot resume: rank is 3, but the run has 2" in capsys.readouterr().err


def test_merge_writes_an_ordinary_folder_with_the_same_logits(run, base, capsys):
    out = base.parent / "merged"
    assert main(["merge", str(run), str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    tokens = np.array([[1, 2, 3, 4]])
    np.testing.assert_allclose(nf.load(out).model(tokens).data, nf.load(run).model(tokens).data, atol=1e-5)


def test_convert_says_that_adapters_are_merged_first(run, base, capsys):
    for words in ([str(base.parent / "new")], [str(base.parent / "new.gguf"), "--gguf", "f16"]):
        assert main(["convert", str(run), *words]) == 2
        assert f"holds adapters: convert what `numformer merge {run} OUT` writes" in capsys.readouterr().err
        assert not (base.parent / words[0]).exists()


def test_a_run_of_adapters_writes_as_its_base_says_and_chats_as_it(chat_folder):
    pytest.importorskip("jinja2")
    folder = chat_folder()
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [7], "temperature": 0.5, "do_sample": True})
    )
    (folder.parent / "examples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in CHATS))
    make(folder).fit(**FIT, out=folder.parent / "run")
    lm, chat = nf.load(folder.parent / "run"), open_chat_model(folder.parent / "run")
    assert lm.defaults == nf.load(folder).defaults
    assert chat.stop_ids == open_chat_model(folder).stop_ids
    assert chat.template.source == open_chat_model(folder).template.source


def test_merge_replaces_nothing_unasked_and_never_what_it_is_made_of(run, base, capsys):
    before = {path: path.read_bytes() for path in base.parent.rglob("*") if path.is_file()}
    for words, message in (
        ([str(run), str(base)], f"{base} exists"),
        ([str(run), str(base), "--overwrite"], "which it is made of"),
        ([str(run), str(run), "--overwrite"], "which it is made of"),
        ([str(base), str(base.parent / "new")], "holds no adapters"),
        ([str(run), str(base.parent / "examples.jsonl"), "--overwrite"], "exists"),
    ):
        assert main(["merge", *words]) == 2
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in base.parent.rglob("*") if path.is_file()} == before


def test_an_adapter_without_a_tokenizer_takes_that_of_its_base(run, base):
    for path in (run / "tokenizer.json", run / "best" / "tokenizer.json"):
        path.unlink()
    assert isinstance(nf.load(run).tokenizer, ByteTokenizer)


def test_what_starts_from_a_run_of_adapters_is_told_to_merge_them(run, base):
    with pytest.raises(InputError, match="holds adapters: start from what `numformer merge"):
        make(run)
    with pytest.raises(InputError, match="holds adapters: start from what `numformer merge"):
        nf.Classifier.from_data([("a", "x"), ("b", "y")] * 4, pretrained=run)


def test_adapters_start_from_a_run_too(base):
    full = make(base, lora=LoRAConfig())
    full.fit(**FIT, out=base.parent / "full")
    lm = make(base.parent / "full")
    lm.fit(**FIT, out=base.parent / "tuned")
    assert adapter_of(nf.load(base.parent / "tuned").model).base == str(base.parent / "full" / "best")


def test_adapters_without_a_model_are_refused(base):
    with pytest.raises(InputError, match="adapters belong to a trained model: name it with --from"):
        LanguageModel.from_text(base.parent / "examples.jsonl", tokenizer="bytes", lora=LORA)


def test_adapters_and_freezing_do_not_go_together(base):
    with pytest.raises(InputError, match="leave out freeze"):
        make(base, freeze="layers.0")


def test_info_names_the_adapters(run, base, capsys):
    assert main(["info", str(run)]) == 0
    assert f"of rank 2 on 4 layers of {base}" in capsys.readouterr().out


def test_adapters_train_on_a_plain_text_too(base):
    lm = LanguageModel.from_text("the cat purrs.\n" * 30, pretrained=base, lora=LORA)
    before = lm.evaluate()["loss"]
    lm.fit(**FIT | {"steps": 20, "lr": 3e-2})
    assert lm.evaluate()["loss"] < before


def test_adapters_are_trained_on_a_gguf_file(base):
    pytest.importorskip("tokenizers")
    pytest.importorskip("gguf")
    from numformer.pretrained import write_gguf
    from numformer.tokenizers import SubwordTokenizer

    tokenizer = SubwordTokenizer.train("bpe", ["the cat purrs. the dog barks."] * 3, 275)
    model = Llama(vocab_size=tokenizer.vocab_size, d_model=32, num_heads=2, num_layers=1, max_seq_len=16)
    file = base.parent / "base.gguf"
    write_gguf(model, tokenizer, file, dtype="f32")
    make(file).fit(**FIT, out=base.parent / "run")
    assert nf.load(base.parent / "run").tokenizer.encode("the cat").tolist() == tokenizer.encode("the cat").tolist()
    full = make(file, lora=LoRAConfig())
    full.fit(**FIT, out=base.parent / "full")
    assert (base.parent / "full" / "model.safetensors").exists()
