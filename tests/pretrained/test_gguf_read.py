import os
import struct
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from numformer import Embedder, InputError, load, no_grad
from numformer.models import Bert, memory
from numformer.models.build import build_backbone
from numformer.models.registry import ARCHITECTURES
from numformer.pretrained import read_gguf, write_gguf
from numformer.pretrained.gguf_config import llama3_divisors
from numformer.pretrained.gguf_families import FAMILIES, supported
from numformer.pretrained.gguf_file import GGUFFile

DATA = Path(os.environ.get("NUMFORMER_DATA", "../shared/data"))
IDS = np.array([[5, 9, 2, 0, 11, 7, 3]])


def hidden(model, ids=IDS):
    with no_grad():
        return model.encode(ids).data


# The architectures


@pytest.mark.parametrize(
    "settings", [{}, {"tied": False}, {"head_dim": 6, "rope_theta": 500.0}], ids=["tied", "untied", "own head width"]
)
def test_a_llama_comes_back_whole(settings, files, tmp_path):
    model, metadata, tensors = files.llama(**settings)
    found = read_gguf(files.write(tmp_path / "x.gguf", "llama", metadata, tensors)).model
    assert not found.training
    with no_grad():
        np.testing.assert_array_equal(found(IDS).data, model(IDS).data)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(found.state_dict()[name], value)


def test_a_gpt2_comes_back_whole(files, tmp_path):
    model, metadata, tensors = files.gpt2()
    found = read_gguf(files.write(tmp_path / "x.gguf", "gpt2", metadata, tensors)).model
    np.testing.assert_array_equal(hidden(found), hidden(model))


def test_an_output_layer_that_repeats_the_embedding_of_a_gpt2_is_left_out(files, tmp_path):
    model, metadata, tensors = files.gpt2()
    tensors["output.weight"] = tensors["token_embd.weight"]
    found = read_gguf(files.write(tmp_path / "x.gguf", "gpt2", metadata, tensors)).model
    np.testing.assert_array_equal(hidden(found), hidden(model))
    tensors["output.weight"] = tensors["output.weight"] + 1
    with pytest.raises(InputError, match=r"output\.weight is not token_embd\.weight, which a GPT shares"):
        read_gguf(files.write(tmp_path / "y.gguf", "gpt2", metadata, tensors))


def test_a_bert_comes_back_whole(files, tmp_path):
    model, metadata, tensors = files.bert()
    found = read_gguf(files.write(tmp_path / "x.gguf", "bert", metadata, tensors)).model
    assert found.config == model.config
    np.testing.assert_array_equal(hidden(found), hidden(model))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_weights_are_those_of_their_type(kind, files, tmp_path):
    _, metadata, tensors = files.gpt2()
    found = read_gguf(files.write(tmp_path / "x.gguf", "gpt2", metadata, tensors, kind)).model
    number, weight = gguf.GGMLQuantizationType[kind], tensors["blk.1.ffn_up.weight"]
    expected = gguf.dequantize(gguf.quantize(weight, number), number)
    np.testing.assert_array_equal(found.state_dict()["layers.1.feed_forward.linear1.weight"], expected)


def test_what_the_file_says_besides_is_handed_on(files, tmp_path):
    _, metadata, tensors = files.llama()
    extra = {"tokenizer.chat_template": "{{ messages }}", "general.name": "Tiny"}
    _, tokenizer, template, kept = read_gguf(files.write(tmp_path / "x.gguf", "llama", metadata | extra, tensors))
    assert (template, kept["general.name"], kept["tokenizer.ggml.add_bos_token"]) == ("{{ messages }}", "Tiny", False)
    assert "tokenizer.ggml.tokens" not in kept
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (1, 2, 0)
    assert read_gguf(files.write(tmp_path / "y.gguf", "llama", metadata, tensors)).chat_template is None


def test_weights_are_held_once(files, tmp_path, measure_bytes):
    _, metadata, tensors = files.llama()
    wide = np.zeros((files.num_tokens + 100_000, 32), np.float32)
    path = files.write(tmp_path / "x.gguf", "llama", metadata, tensors | {"token_embd.weight": wide}, "Q8_0")
    read_gguf(path)  # what is loaded once stays out of the count
    weights = 4 * (sum(array.size for array in tensors.values()) + wide.size)
    _, _, peak = measure_bytes(lambda: read_gguf(path))
    assert peak < 2.2 * weights  # the model's own zeros, which take no memory until they are read, and the weights


@pytest.mark.parametrize("architecture", FAMILIES)
def test_names_of_tensors_are_those_of_the_reference(architecture):
    kind = gguf.MODEL_ARCH[architecture.upper()]
    names, known = gguf.get_tensor_name_map(kind, 2), 0
    for tensor in gguf.MODEL_TENSORS[kind]:
        name = gguf.TENSOR_NAMES[tensor].format(bid=1)
        there = FAMILIES[architecture].names.from_disk(name)
        if there != name:
            assert names.get_name(there.removeprefix("bert.")) == name
            known += 1
    assert known >= 9


@pytest.mark.parametrize("architecture", [name for name in supported() if "rope_theta" in FAMILIES[name].optional])
def test_a_decoder_comes_back_whole_by_the_names_of_the_reference(architecture, files, randomise, tmp_path):
    family = FAMILIES[architecture]
    known = ARCHITECTURES[family.model_type]
    sizes = {"d_model": 32, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16, "num_layers": 7, "d_ff": 64}
    model = build_backbone(known.config(vocab_size=files.num_tokens, max_seq_len=64, **sizes))
    model = randomise(model).astype(np.float32).eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], 7)
    tensors = {}
    for ours, value in model.state_dict().items():
        there = known.layout.names("lm", False).to_disk(ours)
        name = names.get_name(there, try_suffixes=(".weight", ".bias"))
        heads = {"attn_q": 4, "attn_k": 2}.get(name.split(".")[-2])
        value = files.turned(value, heads) if architecture == "llama" and heads else value
        tensors[name] = value + 1 if family.norms_are_offset and name.endswith("norm.weight") else value
    metadata = {
        "context_length": 64,
        "embedding_length": 32,
        "block_count": 7,
        "feed_forward_length": 64,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 16,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": float(model.config.rope_theta),
    }
    entries = {f"{architecture}.{key}": value for key, value in metadata.items()}
    found = read_gguf(files.write(tmp_path / "x.gguf", architecture, entries | files.vocabulary, tensors)).model
    assert type(found) is type(model)
    np.testing.assert_allclose(hidden(found), hidden(model), rtol=1e-4, atol=1e-5)


# Rotary positions stretched as in Llama 3


def test_the_divisors_of_llama3_are_those_of_its_rule():
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    found = llama3_divisors(scaling, 500000.0, 128)
    lengths = 2 * np.pi * 500000.0 ** (np.arange(0, 128, 2) / 128)
    assert (found[lengths < 8192 / 4] == 1).all()
    assert (found[lengths > 8192] == 8).all()
    assert (np.diff(found) >= 0).all()


def test_divisors_of_another_rule_are_refused(files, tmp_path):
    _, metadata, tensors = files.llama()
    tensors["rope_freqs.weight"] = np.array([1, 2, 3, 4], np.float32)
    with pytest.raises(InputError, match=r"rope_freqs\.weight does not follow the rule of Llama 3"):
        read_gguf(files.write(tmp_path / "x.gguf", "llama", metadata, tensors))


# What is refused


def without(table, *keys):
    return {key: value for key, value in table.items() if key not in keys}


METADATA = {
    "unknown architecture": ({"general.architecture": "mamba"}, r"'mamba', supported are llama, .*gpt2, bert"),
    "experts": ({"llama.expert_count": 8}, "mixture of 8 experts"),
    "part of a model": ({"split.count": 3}, "one of 3 parts of a model: join them"),
    "no block count": ({"llama.block_count": None}, r"lacks llama\.block_count"),
    "too many blocks": ({"llama.block_count": 1 << 31}, "block_count of 2147483648, but there are tensors of 2 blocks"),
    "no epsilon": ({"llama.attention.layer_norm_rms_epsilon": None}, r"lacks llama\.attention\.layer_norm_rms_epsilon"),
    "a word as a number": ({"llama.embedding_length": "x"}, r"a text as llama\.embedding_length, expected a whole"),
    "absurd width": ({"llama.embedding_length": 1 << 31}, "not the width of a head, 536870912"),
    "absurd feed-forward": ({"llama.feed_forward_length": 1 << 31}, r"blk\.0\.ffn_up\.weight has the shape \[64, 32\]"),
    "absurd heads": ({"llama.attention.head_count": 1 << 30}, "is not the width of a head|num_heads"),
    "no heads": ({"llama.attention.head_count": 0}, "head_count must be above 0"),
    "absurd key heads": ({"llama.attention.head_count_kv": 1 << 30}, r"blk\.0\.attn_k\.weight has the shape"),
    "partial rotary": ({"llama.rope.dimension_count": 4}, r"rope\.dimension_count is not the width of a head, 8"),
    "rope of another kind": ({"llama.rope.scaling.type": "yarn"}, "type is 'yarn', supported are none, linear"),
    "wavelengths of 0": ({"llama.rope.freq_base": 0.0}, r"rope\.freq_base must be above 0, got 0\.0"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, r"lacks tokenizer\.ggml\.tokens"),
    "no merges": ({"tokenizer.ggml.merges": None}, r"lacks tokenizer\.ggml\.merges"),
    "unknown tokenizer": ({"tokenizer.ggml.model": "rwkv"}, "of the kind 'rwkv', supported are gpt2, llama, bert"),
    "unknown pre-tokenizer": ({"tokenizer.ggml.pre": "poro"}, "pre-tokenizer is 'poro', supported are default, gpt-2"),
    "merge of no tokens": ({"tokenizer.ggml.merges": ["qq zz"]}, "tokenizers library cannot read"),
    "merge of three": ({"tokenizer.ggml.merges": ["a b c"]}, "tokenizers library cannot read"),
    "end token outside": ({"tokenizer.ggml.eos_token_id": 4000}, r"eos_token_id is 4000, but the tokenizer has \d+ tokens"),
    "kinds of other tokens": ({"tokenizer.ggml.token_type": [1, 2]}, r"token_type must have a number for each"),
    "template of another kind": ({"tokenizer.chat_template": 3}, r"as tokenizer\.chat_template, expected a text"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), METADATA.values(), ids=METADATA)
def test_metadata_that_cannot_be_right_are_refused(changes, message, files, tmp_path, measure_bytes):
    _, metadata, tensors = files.llama()
    architecture = changes.get("general.architecture", "llama")
    metadata = {key: value for key, value in (metadata | changes).items() if value is not None}
    path = files.write(tmp_path / "x.gguf", architecture, without(metadata, "general.architecture"), tensors)

    def attempt():
        with pytest.raises(InputError, match=message) as caught:
            read_gguf(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    assert measure_bytes(attempt)[2] < 5_000_000


TENSORS = {
    "experts": ({"blk.0.ffn_gate_exps.weight": np.zeros((2, 4, 32))}, r"as the tensor blk\.0\.ffn_gate_exps\.weight"),
    "no embedding": ({"token_embd.weight": None}, r"the tensor token_embd\.weight is missing"),
    "no norm": ({"output_norm.weight": None}, r"missing: output_norm\.weight"),
    "half a block": ({"blk.1.attn_q.weight": None}, "block 1 are missing, or other"),
    "wide block": ({"blk.1.ffn_norm.weight": np.zeros(40)}, "block 1 are missing, or other"),
    "gap": ({"blk.7.attn_q.weight": np.zeros((32, 32))}, "tensors of 3 blocks"),
    "unknown": ({"extra.weight": np.zeros(4)}, r"unexpected: extra\.weight"),
    "shape": ({"output_norm.weight": np.zeros(31)}, r"wrong shape: output_norm\.weight \(got \[31\], expected \[32\]\)"),
    "few rows": ({"token_embd.weight": np.zeros((9, 32))}, "tokens, but the embedding of the model only 9 rows"),
    "biases": ({"blk.0.attn_q.bias": np.zeros(32)}, "block 1 are missing, or other"),
    "NaN": ({"output_norm.weight": np.full(32, np.nan)}, r"the tensor output_norm\.weight holds numbers that are not finite"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), TENSORS.values(), ids=TENSORS)
def test_tensors_that_cannot_be_right_are_refused(changes, message, files, tmp_path):
    _, metadata, tensors = files.llama()
    changes = {name: None if array is None else array.astype(np.float32) for name, array in changes.items()}
    tensors = {name: array for name, array in (tensors | changes).items() if array is not None}
    with pytest.raises(InputError, match=message) as caught:
        read_gguf(files.write(tmp_path / "x.gguf", "llama", metadata, tensors))
    assert "\n" not in str(caught.value)


def test_a_token_twice_is_refused(files, tmp_path):
    _, metadata, tensors = files.llama()
    metadata["tokenizer.ggml.tokens"][7] = metadata["tokenizer.ggml.tokens"][8]
    with pytest.raises(InputError, match=r"the tokenizer has the token '.*' 2 times"):
        read_gguf(files.write(tmp_path / "x.gguf", "llama", metadata, tensors))


@pytest.mark.parametrize(("number", "vector"), [(1, "mean"), (2, "cls")])
def test_the_pooling_of_a_bert_makes_its_vectors(number, vector, files, tmp_path):
    model, metadata, tensors = files.bert()
    path = files.write(tmp_path / "x.gguf", "bert", metadata | {"bert.pooling_type": number}, tensors)
    embedder = load(path)
    assert (type(embedder), embedder.model.vector, embedder.model.normalize) == (Embedder, vector, False)
    ids = [[2, *embedder.tokenizer.encode("the cats"), 3]]
    x = hidden(model, ids)[0]
    expected = x.mean(axis=0) if vector == "mean" else x[0]
    np.testing.assert_allclose(embedder.encode(["the cats"])[0], expected, rtol=1e-5, atol=1e-5)


def test_a_pooling_that_is_not_known_is_refused_and_none_leaves_a_bert(files, tmp_path):
    _, metadata, tensors = files.bert()
    with pytest.raises(
        InputError, match=r"bert\.pooling_type is 3, supported are 0 \(none\), 1 \(mean\) and 2 \(cls\)"
    ):
        read_gguf(files.write(tmp_path / "x.gguf", "bert", metadata | {"bert.pooling_type": 3}, tensors))
    found = read_gguf(files.write(tmp_path / "y.gguf", "bert", metadata | {"bert.pooling_type": 0}, tensors))
    assert type(found.model) is Bert


def test_a_bert_that_looks_back_alone_is_refused(files, tmp_path):
    _, metadata, tensors = files.bert()
    with pytest.raises(InputError, match=r"bert\.attention\.causal is true"):
        read_gguf(files.write(tmp_path / "x.gguf", "bert", metadata | {"bert.attention.causal": True}, tensors))


def test_a_model_larger_than_the_memory_is_refused(llama_file, monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  99 kB\nMemAvailable:  10 kB\n")
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "meminfo")
    with pytest.raises(InputError, match=r"weights take at least 0\.0 GB as float32, and 0\.0 GB of memory are free"):
        read_gguf(llama_file)
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "none")
    read_gguf(llama_file)


def test_a_model_that_no_memory_is_left_for_is_refused_with_its_file(llama_file, monkeypatch):
    def fail(config):
        raise MemoryError

    monkeypatch.setattr("numformer.pretrained.gguf_models.build_backbone", fail)
    with pytest.raises(InputError, match="gguf: the model does not fit into the memory of this machine"):
        read_gguf(llama_file)


def damaged(content, seed):
    """Return the bytes of a file with a few of those before the data changed, one length made absurd, or the end cut off."""
    rng, content = np.random.default_rng(seed), bytearray(content)
    head = content.index(b"output_norm.weight") + 400
    for place in rng.integers(0, head, rng.integers(1, 4)):
        content[place] = rng.integers(256)
    if rng.random() < 0.3:
        struct.pack_into("<Q", content, rng.integers(0, head), 1 << int(rng.integers(64)))
    return content[: rng.integers(len(content))] if rng.random() < 0.2 else content


@pytest.mark.parametrize("start", range(0, 500, 100))
def test_a_damaged_file_is_read_or_refused_in_one_line(start, llama_file, tmp_path):
    content, path, messages = llama_file.read_bytes(), tmp_path / "damaged.gguf", []
    for seed in range(start, start + 100):
        path.write_bytes(damaged(content, seed))
        try:
            read_gguf(path)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert not any("\n" in message for message in messages)


# SmolLM2-135M-Instruct, and what Transformers says with it


@pytest.fixture(scope="module")
def smollm2(smollm2_file):
    return read_gguf(smollm2_file)


def test_every_token_of_awkward_strings_is_that_of_transformers(smollm2, smollm2_says):
    for text, ids in smollm2_says["encode"].items():
        assert smollm2.tokenizer.encode_control(text).tolist() == ids, text
    assert smollm2.tokenizer.encode_control(smollm2_says["chat_prompt"]).tolist() == smollm2_says["chat_prompt_ids"]


def test_what_a_person_types_never_becomes_a_control_token(smollm2, smollm2_says):
    for text, ids in smollm2_says["encode"].items():
        found = smollm2.tokenizer.encode(text)
        assert found.tolist() == ids or "<|im_start|>" in text
        assert (found > 16).all()
        assert smollm2.tokenizer.decode(found) == text


def test_the_greedy_answer_is_that_of_transformers(smollm2, smollm2_says):
    prompt = smollm2_says["chat_prompt_ids"]
    stop = [smollm2.tokenizer.eos_id]
    found = smollm2.model.generate([prompt], 60, temperature=0.0, stop_ids=stop)
    assert found[0][len(prompt) :].tolist() == smollm2_says["greedy"]["ids"]


def log_likelihood(model, smollm2_says):
    """Return the mean log-likelihood of the tokens of a text but the first, and the logits after it."""
    ids = np.array(smollm2_says["nll"]["ids"])
    with no_grad():
        logits = model(ids[None]).data[0].astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return log_p[np.arange(len(ids) - 1), ids[1:]].mean(), logits[-1]


def test_the_likelihood_of_a_text_is_that_of_transformers(smollm2, smollm2_says):
    mean, logits = log_likelihood(smollm2.model, smollm2_says)
    assert -mean == pytest.approx(smollm2_says["nll"]["mean_nll"], abs=1e-4)
    np.testing.assert_allclose(logits[:20], smollm2_says["nll"]["last_logits_first20"], atol=1e-3)


def test_q8_0_changes_the_likelihood_of_a_text_by_less_than_a_hundredth(smollm2, smollm2_says, tmp_path):
    write_gguf(smollm2.model, smollm2.tokenizer, tmp_path / "x.gguf", "q8_0", smollm2.chat_template)
    found = read_gguf(tmp_path / "x.gguf")
    assert log_likelihood(found.model, smollm2_says)[0] == pytest.approx(-smollm2_says["nll"]["mean_nll"], abs=0.01)
    assert found.tokenizer.encode_control(smollm2_says["chat_prompt"]).tolist() == smollm2_says["chat_prompt_ids"]
    assert found.chat_template == smollm2.chat_template


def test_a_real_model_takes_little_more_memory_than_its_weights(smollm2_file):
    status = Path("/proc/self/status")  # of Linux; what getrusage says begins with the peak of the process before
    if not status.exists():
        pytest.skip(f"there is no {status}, which says what was the most memory in use")
    code = (
        "import pathlib, sys\n"
        "from numformer.pretrained import read_gguf\n"
        "read_gguf(sys.argv[1])\n"
        f"lines = pathlib.Path({str(status)!r}).read_text().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
    )
    command = [sys.executable, "-c", code, str(smollm2_file)]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024
    assert peak < 900, "MB; the weights are 538 as float32, and the file that they come from 98"


def test_tensors_of_the_real_file_are_those_of_the_reference(smollm2_file):
    file = GGUFFile(smollm2_file)
    for name in ("blk.0.attn_q.weight", "blk.29.ffn_down.weight", "blk.7.attn_norm.weight"):
        raw = np.frombuffer(file.raw(name), np.uint8).reshape(file.tensors[name].shape[0], -1)
        expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[file.tensors[name].kind.name])
        np.testing.assert_array_equal(file.read(name), expected.reshape(file.tensors[name].shape))
