"""What names a model: folders, files, known names and hf:owner/name; and what is refused."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

import numformer as nf
from numformer import GPT, BertConfig, InputError
from numformer.models import Bert
from numformer.pretrained import GGUFModel, opening, save_model
from numformer.pretrained.finding import find_model, place_of
from numformer.pretrained.names import KNOWN, KnownModel
from numformer.tokenizers import CharacterTokenizer, save_tokenizer
from numformer.tokenizers.subwords import SubwordTokenizer

SMALL = {"d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 12, "max_seq_len": 7}
TOKENIZER = CharacterTokenizer("abcdefgh \n", special_tokens=True)


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    """Let every connection fail the test."""
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a network was asked"))


def saved(folder, model=None):
    save_model(model or GPT(vocab_size=TOKENIZER.vocab_size, **SMALL), folder)
    save_tokenizer(TOKENIZER, folder)
    return Path(folder)


def known(name, *files):
    return KnownModel(name, "", "MIT", 1, name, "1", name, dict.fromkeys(files, ""))


# What names a model


def test_a_folder_that_others_made_opens_as_its_task_without_a_run(tmp_path):
    task = nf.load(saved(tmp_path / "gpt"))
    assert type(task) is nf.tasks.LanguageModel
    assert task.generate("ab", 3, temperature=0.0)


@pytest.mark.parametrize(
    "name", ["nosuch", "a/b", "smollm2", "SmolLM2-135m-instruct", "owner/name", "x.gguf", "x" * 5000, "\0"]
)
def test_a_mistyped_folder_asks_no_network(name):
    with pytest.raises(
        InputError, match=r"there is no folder .*, and no model of that name \(known are smollm2"
    ) as caught:
        nf.load(name)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_no_model_is_said_to_be_one(tmp_path):
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(
        InputError, match=r"text\.txt is a file that is no model: expected a folder or a file ending in \.gguf"
    ):
        nf.load("text.txt")


def test_a_known_name_that_was_not_fetched_says_how_and_asks_no_network():
    with pytest.raises(
        InputError, match="not on this machine yet: get it with `numformer models fetch all-minilm-l6-v2`"
    ):
        nf.load("all-minilm-l6-v2")


def test_a_known_name_opens_what_was_fetched(tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN, "tiny", known("tiny", "config.json", "model.safetensors"))
    saved(tmp_path / "cache" / "models" / "tiny")
    assert type(nf.load("tiny")) is nf.tasks.LanguageModel


def test_of_a_known_model_in_one_file_that_file_is_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN, "tiny", known("tiny", "Tiny.gguf"))
    (tmp_path / "cache" / "models" / "tiny").mkdir(parents=True)
    assert find_model("tiny") == tmp_path / "cache" / "models" / "tiny" / "Tiny.gguf"


def test_a_folder_that_exists_wins_over_a_name(tmp_path, monkeypatch):
    saved("all-minilm-l6-v2")
    assert type(nf.load("all-minilm-l6-v2")) is nf.tasks.LanguageModel
    assert place_of("all-minilm-l6-v2") == str(tmp_path / "all-minilm-l6-v2")
    assert place_of("smollm2-135m-instruct") == "smollm2-135m-instruct"


def test_a_gguf_file_brings_its_tokenizer_and_its_template(tmp_path, monkeypatch):
    content = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
    }
    tokenizer = SubwordTokenizer(json.dumps(content), special={"eos_id": 0})
    model = GPT(vocab_size=3, **SMALL)
    monkeypatch.setattr(opening, "read_gguf", lambda path: GGUFModel(model, tokenizer, "{{ messages }}", {}))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    task = nf.load("x.gguf")
    assert task.model is model
    assert (task.tokenizer.eos_id, task.tokenizer.chat_template) == (0, "{{ messages }}")


# Models without a head


def test_a_bare_encoder_is_an_embedder_by_the_mean_of_the_positions_which_is_said(tmp_path, capsys):
    bert = Bert(BertConfig(vocab_size=TOKENIZER.vocab_size, **SMALL)).eval()
    embedder = nf.load(saved(tmp_path / "bert", bert))
    assert type(embedder) is nf.Embedder
    said = "a Bert says nothing of vectors of texts: they are the mean of the positions\n"
    assert capsys.readouterr().err == said
    ids = [[TOKENIZER.bos_id, *TOKENIZER.encode("abc"), TOKENIZER.eos_id]]
    np.testing.assert_allclose(embedder.encode(["abc"]), bert(ids).data.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_a_task_starts_from_a_bare_encoder_with_its_weights(tmp_path):
    bert = Bert(BertConfig(vocab_size=TOKENIZER.vocab_size, **SMALL), seed=5, pooler=True)
    folder = saved(tmp_path / "bert", bert)
    examples = [("abc", "x"), ("fgh", "y")] * 4
    task = nf.Classifier.from_data(examples, pretrained=str(folder), valid_fraction=0.0, pooling="first")
    np.testing.assert_array_equal(
        task.model.state_dict()["backbone.layers.0.self_attn.q_proj.weight"],
        bert.state_dict()["layers.0.self_attn.q_proj.weight"],
    )
    np.testing.assert_array_equal(task.model.backbone.pooler.weight.data, bert.pooler.weight.data)


def test_a_run_writes_down_the_name_that_it_started_from(tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN, "tiny", known("tiny", "config.json", "model.safetensors"))
    saved(tmp_path / "cache" / "models" / "tiny")
    lm = nf.LanguageModel.from_text("abc\nfgh\n" * 20, pretrained="tiny")
    lm.fit(steps=1, batch_size=1, out="run", progress=False)
    assert 'pretrained = "tiny"' in Path("run", "run.toml").read_text()


def test_a_run_keeps_the_special_tokens_and_the_template_of_what_it_started_from(tmp_path):
    vocab = {c: i for i, c in enumerate("abcdefgh")} | {"\n": 8, "</s>": 9, "<pad>": 10}
    content = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": vocab, "merges": []}}
    config = {"eos_token": "a", "chat_template": "{{ messages }}"}
    save_model(GPT(vocab_size=11, **SMALL), tmp_path / "gpt")
    SubwordTokenizer(json.dumps(content), config=config).save(tmp_path / "gpt")
    lm = nf.LanguageModel.from_text("abc\nfgh\n" * 20, pretrained=str(tmp_path / "gpt"))
    lm.fit(steps=2, batch_size=1, eval_every=1, out="run", progress=False)
    for last in (False, True):
        tokenizer = nf.load("run", last=last).tokenizer
        assert (tokenizer.eos_id, tokenizer.pad_id, tokenizer.chat_template) == (0, None, "{{ messages }}")


# What does not belong together


def test_a_tokenizer_with_more_tokens_than_rows_is_refused_wherever_it_is_opened(tmp_path):
    folder = tmp_path / "gpt"
    save_model(GPT(vocab_size=TOKENIZER.vocab_size - 1, **SMALL), folder)
    save_tokenizer(TOKENIZER, folder)
    message = f"gpt: the tokenizer has {TOKENIZER.vocab_size} tokens, and the model rows for {TOKENIZER.vocab_size - 1}"
    for call in (
        lambda: nf.load(folder),
        lambda: nf.LanguageModel.load(folder),
        lambda: nf.LanguageModel.from_text("abc\nfgh\n" * 20, pretrained=str(folder)),
        lambda: nf.Classifier.from_data([("a", "x"), ("b", "y")], pretrained=str(folder)),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_both_tokenizers_of_a_translator_are_compared_with_its_rows(tmp_path):
    pairs = [("abc", "cba"), ("fgh", "hgf")] * 3
    small = nf.Translator.from_data(pairs, tokenizer="characters", valid_fraction=0.0, d_model=8, num_heads=2, d_ff=12)
    small.save(tmp_path / "translator")
    assert type(nf.load(tmp_path / "translator")) is nf.Translator
    wide = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz", special_tokens=True)
    name = "source_tokenizer.json" if (tmp_path / "translator" / "source_tokenizer.json").exists() else "tokenizer.json"
    save_tokenizer(wide, tmp_path / "translator" / name)
    with pytest.raises(InputError, match="the tokenizer has 31 tokens, and the model rows for"):
        nf.load(tmp_path / "translator")


def test_a_model_may_have_more_rows_than_the_tokenizer_has_tokens(tmp_path):
    saved(tmp_path / "gpt", GPT(vocab_size=TOKENIZER.vocab_size + 5, **SMALL))
    assert nf.load(tmp_path / "gpt").generate("ab", 2)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_a_folder_of_links_opens_as_the_hub_keeps_its_models(tmp_path):
    blobs, folder = saved(tmp_path / "blobs"), tmp_path / "snapshot"
    folder.mkdir()
    for file in blobs.iterdir():
        (folder / file.name).symlink_to(file)
    assert type(nf.load(folder)) is nf.tasks.LanguageModel
