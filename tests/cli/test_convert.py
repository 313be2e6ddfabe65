"""`numformer convert`: what is written is what was opened, and nothing that exists is lost."""

import json

import numpy as np
import pytest

import numformer as nf
from numformer import BertConfig
from numformer.cli import convert
from numformer.models import Bert
from numformer.pretrained import load_model, save_model
from numformer.pretrained.array_files import ArrayFile
from numformer.pretrained.sentence_folders import read_sentence_settings
from numformer.tokenizers import CharacterTokenizer, save_tokenizer

TOKENS = np.array([[1, 2, 3, 4]])


@pytest.fixture
def bare(here):
    """Make a folder with an encoder without a head, as sentence-transformers has them."""
    tokenizer = CharacterTokenizer("abc", special_tokens=True)
    save_model(Bert(BertConfig(vocab_size=8, d_model=8, num_heads=2), pooler=True), here / "bare")
    save_tokenizer(tokenizer, here / "bare")
    (here / "bare" / "modules.json").write_text('[{"type": "x.Pooling", "path": "1_Pooling"}]')
    (here / "bare" / "1_Pooling").mkdir()
    (here / "bare" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (here / "bare" / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "dot"}')
    return here / "bare"


def test_a_run_becomes_a_folder_with_the_same_logits_and_task(here, numformer, finished_run):
    result = numformer("convert", finished_run, "new")
    assert (result.status, result.out) == (0, "")
    assert result.err.startswith("new: GPT, ")
    assert " parameters as float32, " in result.err
    before, after = nf.load(finished_run), nf.load("new")
    assert type(after) is type(before)
    np.testing.assert_array_equal(after.model(TOKENS).data, before.model(TOKENS).data)
    assert after.generate("the", 5, temperature=0.0) == before.generate("the", 5, temperature=0.0)
    assert sorted(path.name for path in here.glob(".*")) == []


@pytest.mark.parametrize(("dtype", "kind", "step"), [("float16", "F16", 2**-11), ("bfloat16", "BF16", 2**-8)])
def test_weights_are_written_in_the_type_that_is_asked_for(here, numformer, finished_run, dtype, kind, step):
    assert numformer("convert", finished_run, "new", "--dtype", dtype).status == 0
    assert {place.kind for place in ArrayFile(here / "new" / "model.safetensors").places.values()} == {kind}
    assert json.loads((here / "new" / "config.json").read_text())["dtype"] == dtype
    before, after = nf.load(finished_run).model.state_dict(), load_model("new").state_dict()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=step, atol=1e-7)


def test_a_model_without_a_head_takes_the_files_about_its_use_along(here, numformer, bare):
    assert numformer("convert", bare, "new").status == 0
    assert read_sentence_settings(here / "new") == read_sentence_settings(bare) | {"max_seq_len": 128}
    assert read_sentence_settings(bare)["vector"] == "cls"
    assert json.loads((here / "new" / "config_sentence_transformers.json").read_text()) == {"similarity_fn_name": "dot"}
    assert json.loads((here / "new" / "config.json").read_text())["architectures"] == ["BertModel"]
    for name, value in load_model(bare).state_dict().items():
        np.testing.assert_array_equal(load_model("new").state_dict()[name], value)


def test_how_a_model_generates_goes_along(here, numformer, finished_run):
    numformer("convert", finished_run, "one")
    (here / "one" / "generation_config.json").write_text('{"eos_token_id": 3}')
    numformer("convert", "one", "two")
    assert (here / "two" / "generation_config.json").read_text() == '{"eos_token_id": 3}'


def test_every_task_converts_and_answers_as_before(here, numformer, runs_of_tasks):
    for name in ("classify", "seq2seq", "tag"):
        run = runs_of_tasks(name)
        assert numformer("convert", run, name).status == 0
        before, after = nf.load(run), nf.load(name)
        assert type(after) is type(before)
        text = ["Ann", "sees"] if name == "tag" else "Ann sees"
        assert after.predict([text]) == before.predict([text])


def test_the_last_weights_are_written_where_they_are_asked_for(here, numformer, train):
    train(train__steps=6)
    numformer("convert", "run", "last", "--last")
    last = nf.load("run", last=True).model.state_dict()
    for name, value in load_model("last").state_dict().items():
        np.testing.assert_array_equal(last[name], value)


# What is refused


def test_a_place_that_exists_is_kept_unless_it_is_to_be_replaced(here, numformer, refused, finished_run):
    numformer("convert", finished_run, "new")
    refused(
        lambda: numformer("convert", finished_run, "new"),
        "new exists: choose another place, or replace it with --overwrite",
    )
    assert numformer("convert", finished_run, "new", "--overwrite", "--dtype", "float16").status == 0
    assert json.loads((here / "new" / "config.json").read_text())["dtype"] == "float16"
    assert sorted(path.name for path in here.glob(".*")) == []


def test_what_is_no_model_is_never_replaced(here, numformer, refused, finished_run):
    (here / "papers").mkdir()
    (here / "papers" / "thesis.txt").write_text("years")
    refused(
        lambda: numformer("convert", finished_run, "papers", "--overwrite"), "papers is no model, and is not replaced"
    )
    refused(
        lambda: numformer("convert", finished_run, "text.txt", "--overwrite"),
        "text.txt is no model, and is not replaced",
    )


def test_a_run_is_never_replaced(here, numformer, train, refused, bare):
    train()
    refused(lambda: numformer("convert", bare, "run", "--overwrite"), "run is a run, which keeps its own weights")
    assert (here / "run" / "run.toml").exists()


@pytest.mark.parametrize("source", ["run", "run/best"])
def test_a_model_does_not_replace_itself(here, numformer, train, refused, source):
    train()
    refused(
        lambda: numformer("convert", source, "run", "--overwrite"), f"{source} would be replaced by what is made of it"
    )


def test_a_number_that_is_too_large_leaves_what_was_there(here, numformer, refused):
    tokenizer = CharacterTokenizer("abc", special_tokens=True)
    model = nf.GPT(vocab_size=8, d_model=8, num_heads=2, num_layers=1, max_seq_len=4)
    model.norm.bias.data[:] = 1e6
    save_model(model, "big")
    save_tokenizer(tokenizer, "big")
    numformer("convert", "big", "new")
    words = ("convert", "big", "new", "--overwrite", "--dtype", "float16")
    refused(
        lambda: numformer(*words),
        "transformer.ln_f.bias holds 1e+06, which is too large for float16: save it as float32",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text.txt", "new"], "text.txt is a file that is no model"),
        (["nothing", "new"], "there is no folder nothing"),
        (["RUN", "new", "--dtype", "int8"], "--dtype"),
        (["RUN", "new.gguf"], "a GGUF file takes a name ending in .gguf and --gguf q8_0 or f16, got new.gguf"),
        (["RUN", "new", "--gguf", "f16"], "a GGUF file takes a name ending in .gguf and --gguf q8_0 or f16, got new"),
        (["RUN", "new.gguf", "--gguf", "f16", "--dtype", "float16"], "choose one"),
    ],
)
def test_what_does_not_go_together_is_refused(here, numformer, refused, finished_run, words, message):
    refused(lambda: numformer("convert", *(finished_run if word == "RUN" else word for word in words)), message)


def test_a_gguf_file_gets_the_model_its_tokenizer_and_the_type(here, numformer, finished_run, monkeypatch):
    given = []

    def write(model, tokenizer, path, dtype, chat_template):
        given.append((type(model).__name__, type(tokenizer).__name__, str(path), dtype, chat_template))
        path.write_bytes(b"GGUF")

    monkeypatch.setattr(convert, "write_gguf", write)
    result = numformer("convert", finished_run, "new.gguf", "--gguf", "q8_0")
    assert given == [("GPT", "CharacterTokenizer", "new.gguf", "q8_0", None)]
    assert " as q8_0, 4 bytes\n" in result.err
