import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest

from numformer import InputError, no_grad
from numformer.models import build_model
from numformer.pretrained import load_model, read_gguf, write_gguf
from numformer.tokenizers import CharacterTokenizer, SubwordTokenizer, load_tokenizer

IDS = np.array([[5, 9, 2, 0, 11, 7, 3]])
TEXTS = ["The cat sat", "  two  spaces\n", "naïve 日本 🙂", "<bos> 123"]
every_model = pytest.mark.parametrize("kind", ["llama", "gpt2"])


def made(files, kind):
    return getattr(files, kind)()


def written(files, kind, path, **settings):
    """Return a model, and what is read of the file written of it."""
    model, _, _ = made(files, kind)
    write_gguf(model, files.tokenizer, path, **settings)
    return model, read_gguf(path)


def logits(model):
    with no_grad():
        return model(IDS).data


@every_model
def test_a_model_written_as_float32_comes_back_whole(kind, files, tmp_path):
    model, found = written(files, kind, tmp_path / "x.gguf", dtype="f32")
    assert found.model.config.to_disk() | {"n_inner": 0, "head_dim": 0} == model.config.to_disk() | {
        "n_inner": 0,
        "head_dim": 0,
    }
    np.testing.assert_array_equal(logits(found.model), logits(model))


@every_model
def test_the_reference_reads_what_its_own_writer_would_have_written(kind, files, tmp_path):
    model, metadata, tensors = made(files, kind)
    write_gguf(model, files.tokenizer, tmp_path / "x.gguf", "f32")
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    found = {each.name: each.data for each in reader.tensors}
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)
    for key, value in metadata.items():
        content = reader.fields[key].contents()
        assert content == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), key
    assert reader.fields["general.architecture"].contents() == kind


def test_matrices_are_of_the_type_asked_for_and_vectors_stay_float32(files, tmp_path):
    model, found = written(files, "gpt2", tmp_path / "x.gguf", dtype="f16")
    for name, value in model.state_dict().items():
        exact = value.ndim == 1 or name == "position_embedding.weight"
        expected = value if exact else value.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(found.model.state_dict()[name], expected)


def test_q8_0_changes_logits_little(files, tmp_path):
    model, found = written(files, "gpt2", tmp_path / "x.gguf")
    kinds = {each.name: each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert kinds["blk.1.attn_qkv.weight"] == kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.1.attn_qkv.bias"] == kinds["position_embd.weight"] == "F32"
    before = logits(model)
    assert 0 < np.abs(logits(found.model) - before).mean() < 0.02 * np.abs(before).mean()


def test_rows_that_are_no_multiple_of_a_block_become_float16(files, tmp_path):
    model = build_model(files.gpt2()[0].config.__class__(vocab_size=files.num_tokens, d_model=40, num_heads=4), "lm")
    write_gguf(model, files.tokenizer, tmp_path / "x.gguf")
    kinds = {each.name: each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert kinds["blk.0.ffn_up.weight"] == "F16"  # rows of 40
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"  # rows of 160
    assert kinds["output_norm.weight"] == kinds["position_embd.weight"] == "F32"


@every_model
def test_the_tokenizer_and_the_template_come_back(kind, files, tmp_path):
    _, (_, tokenizer, template, metadata) = written(files, kind, tmp_path / "x.gguf", chat_template="{{ 1 }}")
    for text in TEXTS:
        assert tokenizer.encode(text).tolist() == files.tokenizer.encode(text).tolist()
        assert tokenizer.encode_control(text).tolist() == files.tokenizer.encode_control(text).tolist()
    names = ("pad_id", "bos_id", "eos_id", "unk_id", "mask_id")
    assert [getattr(tokenizer, name) for name in names] == [getattr(files.tokenizer, name) for name in names]
    assert (template, metadata["tokenizer.ggml.add_bos_token"]) == ("{{ 1 }}", False)


@pytest.mark.parametrize("around", [lambda step: step, lambda step: {"type": "Sequence", "processors": [step]}])
def test_a_bos_token_before_every_text_is_told(around, files, tmp_path):
    bos, sequence = {"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    other = {"Sequence": {"id": "B", "type_id": 1}}
    table = {"<bos>": {"id": "<bos>", "ids": [1], "tokens": ["<bos>"]}}
    step = {"type": "TemplateProcessing", "single": [bos, sequence], "pair": [bos, sequence, other]}
    content = json.loads(files.tokenizer.content) | {"post_processor": around(step | {"special_tokens": table})}
    write_gguf(files.gpt2()[0], SubwordTokenizer(json.dumps(content)), tmp_path / "x.gguf")
    found = read_gguf(tmp_path / "x.gguf")
    assert found.metadata["tokenizer.ggml.add_bos_token"] is True
    assert found.tokenizer.encode("cat").tolist() == files.tokenizer.encode("cat").tolist()


def test_what_was_read_is_written_again_to_the_same_bytes(files, tmp_path):
    _, found = written(files, "llama", tmp_path / "x.gguf", dtype="q8_0", chat_template="{{ 1 }}")
    write_gguf(found.model, found.tokenizer, tmp_path / "y.gguf", "q8_0", found.chat_template)
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "y.gguf").read_bytes()


def test_rows_of_the_embedding_without_a_token_get_one(files, tmp_path):
    model, _, _ = files.llama(vocab_size=files.num_tokens + 3)
    write_gguf(model, files.tokenizer, tmp_path / "x.gguf")
    field = gguf.GGUFReader(tmp_path / "x.gguf").fields
    tokens, kinds = (field[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type"))
    assert tokens[-3:] == [f"[PAD{files.num_tokens + number}]" for number in range(3)]
    assert kinds[-4:] == [1, 5, 5, 5]


# SentencePiece


def sentencepiece(merges, **changes):
    """Return a tokenizer as SentencePiece makes it, of a few letters and all bytes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256)), *"▁abc"]
    tokens += ["".join(each) for each in merges]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False) | {"special": True}
    content = {
        "version": "1.0",
        "added_tokens": [{"id": number, "content": tokens[number], **flags} for number in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": True,
            "fuse_unk": True,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": merges,
        },
    }
    return SubwordTokenizer(json.dumps(content | changes))


def test_sentencepiece_is_written_with_scores(files, tmp_path):
    tokenizer = sentencepiece([["▁", "a"], ["b", "c"], ["▁a", "bc"]])
    model, _, _ = files.llama(vocab_size=tokenizer.vocab_size)
    write_gguf(model, tokenizer, tmp_path / "x.gguf")
    found = read_gguf(tmp_path / "x.gguf").tokenizer
    for text in ["abc", "bc abc", "x ab", "a  c", "</s>a"]:
        assert found.encode(text).tolist() == tokenizer.encode(text).tolist()
        assert found.encode_control(text).tolist() == tokenizer.encode_control(text).tolist()
    field = gguf.GGUFReader(tmp_path / "x.gguf").fields
    assert field["tokenizer.ggml.scores"].contents()[-3:] == [0, -1, -2]
    assert field["tokenizer.ggml.token_type"].contents()[:4] == [2, 3, 3, 6]


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_a_real_model_comes_back(dtype, tmp_path):
    folder = Path(os.environ.get("NUMFORMER_DATA", "../shared/data")) / "ckpt" / "stories260K"
    if not folder.exists():
        pytest.skip(f"there is no {folder}: NUMFORMER_DATA names the folder of test data")
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    write_gguf(model, tokenizer, tmp_path / "x.gguf", dtype)
    found = read_gguf(tmp_path / "x.gguf")
    assert found.metadata["tokenizer.ggml.add_bos_token"] is True
    for text in ["Once upon a time, there was a café.", "  two </s>\n"]:
        assert found.tokenizer.encode(text).tolist() == tokenizer.encode(text).tolist()
        assert found.tokenizer.encode_control(text).tolist() == tokenizer.encode_control(text).tolist()
    np.testing.assert_allclose(logits(found.model), logits(model), atol=0 if dtype == "f32" else 0.02)


# What is refused


def refused(message, path, model, tokenizer, dtype="q8_0"):
    """Check that nothing is written, and that what was there stays."""
    path.write_bytes(b"before")
    with pytest.raises(InputError, match=message) as caught:
        write_gguf(model, tokenizer, path, dtype)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"before"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_models_and_types_that_are_not_written_are_refused(files, tmp_path):
    model, bert = files.gpt2()[0], files.bert()[0]
    classifier = build_model(model.config, "classify", labels=2)
    for each in (bert, classifier):
        refused("cannot be written as GGUF; the architectures llama, gpt2 can", tmp_path / "x", each, files.tokenizer)
    refused("written as f32, f16, q8_0, got 'q4_0'", tmp_path / "x", model, files.tokenizer, "q4_0")
    relu = build_model(type(model.config)(vocab_size=300, activation="relu"), "lm")
    refused("gpt2 has activation_function gelu_new, this model has relu", tmp_path / "x", relu, files.tokenizer)


def test_tokenizers_that_are_not_written_are_refused(files, tmp_path):
    model = files.gpt2()[0]
    refused("CharacterTokenizer cannot be written", tmp_path / "x", model, CharacterTokenizer("abc"))
    wordpiece = SubwordTokenizer.train("wordpiece", "the cat sat " * 9, 60)
    refused("kind WordPiece cannot be written as GGUF, only BPE", tmp_path / "x", model, wordpiece)
    lower = SubwordTokenizer.train("bpe", "the cat sat " * 9, 270, lowercase=True)
    refused("cuts or changes texts in a way that GGUF has no name for", tmp_path / "x", model, lower)
    content = json.loads(files.tokenizer.content)
    content["model"]["end_of_word_suffix"] = "</w>"
    suffixed = SubwordTokenizer(json.dumps(content))
    refused("cuts or changes texts in a way that GGUF has no name for", tmp_path / "x", model, suffixed)
    larger = SubwordTokenizer.train("bpe", "".join(map(chr, range(97, 400))) * 2, 400)
    refused("has 400 tokens, but the embedding of the model only", tmp_path / "x", model, larger)


def test_byte_fallback_without_the_merges_of_sentencepiece_is_refused(files, tmp_path):
    tokenizer = sentencepiece([["▁", "a"], ["▁a", "b"], ["b", "c"]])
    model, _, _ = files.llama(vocab_size=300)
    content = json.loads(tokenizer.content)
    content["model"]["merges"].pop(0)  # the token stays, and SentencePiece would make it
    refused("not one that SentencePiece makes", tmp_path / "x", model, SubwordTokenizer(json.dumps(content)))


def test_a_tensor_that_cannot_be_written_is_named_and_the_old_file_stays(files, tmp_path):
    model = files.gpt2()[0]
    with pytest.raises(InputError, match="a text for the metadata is not valid Unicode"):
        write_gguf(model, files.tokenizer, tmp_path / "x", chat_template="\ud800")
    model.token_embedding.weight.data[0, 0] = np.nan
    refused(r"the tensor token_embd\.weight holds numbers that are not finite", tmp_path / "x", model, files.tokenizer)
    model.token_embedding.weight.data[0, 0] = 1e6
    refused(
        r"token_embd\.weight holds numbers too large for float16: write it as f32",
        tmp_path / "x",
        model,
        files.tokenizer,
        "f16",
    )
