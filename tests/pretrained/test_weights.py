"""Folders as others have them: in several files, in half precision, with tensors that are not weights, or damaged."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numformer import GPT, BertConfig, InputError, Llama, build_model
from numformer.models import GPTConfig, GPTNeoX, LlamaConfig, RobertaConfig, SequenceClassifier, memory
from numformer.pretrained import load_folder_weights, load_model, save_model
from numformer.pretrained.array_files import ArrayFile

SMALL = {"d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12, "max_seq_len": 7}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model():
    return Llama(vocab_size=11, **SMALL, seed=3)


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "saved")
    return tmp_path / "saved"


def change(folder, edit):
    """Let a function edit the tensors of a folder."""
    file = folder / "model.safetensors"
    tensors = {name: array.copy() for name, array in load_file(file).items()}
    edit(tensors)
    save_file(tensors, file)


def shard(folder, count=3):
    """Cut the weights of a folder into several files with an index, and return what the index says."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {}
    for number in range(count):
        part = dict(list(tensors.items())[number::count])
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        save_file(part, folder / file, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    write_index(folder, places)
    return places


def write_index(folder, places):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))


def assert_same(loaded, model):
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], value)


def refused(folder, message):
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 2000


# In several files


def test_weights_in_several_files_are_those_of_one(model, folder):
    shard(folder)
    assert_same(load_model(folder), model)


def test_one_file_wins_over_an_index_and_saving_removes_the_index(model, folder, tmp_path):
    save_model(model, tmp_path / "shards")
    shard(tmp_path / "shards")
    save_model(model, tmp_path / "shards")
    assert not (tmp_path / "shards" / INDEX).exists()
    assert_same(load_model(tmp_path / "shards"), model)


@pytest.mark.parametrize(
    "file",
    ["../secret.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..\\x.safetensors", ".safetensors", "x.bin"],
)
def test_an_index_that_leads_out_of_its_folder_is_refused(folder, file):
    places = shard(folder)
    save_file({"a": np.ones(2, np.float32)}, folder.parent / "secret.safetensors")
    write_index(folder, places | {next(iter(places)): file})
    refused(folder, r"index\.json names .* expected safetensors files in its own folder")


@pytest.mark.parametrize("places", [None, 3, [], {"a": 3}, {"a": None}])
def test_an_index_without_a_map_is_refused(folder, places):
    shard(folder)
    write_index(folder, places)
    refused(folder, "has no weight_map")


def test_a_file_that_an_index_names_and_is_not_there_is_named(folder):
    places = shard(folder)
    (folder / places["model.norm.weight"]).unlink()
    refused(folder, f"there is no .*{places['model.norm.weight']}")


def test_an_index_that_looks_for_a_tensor_in_another_file_is_refused(folder):
    places = shard(folder)
    other = next(file for file in places.values() if file != places["model.norm.weight"])
    write_index(folder, places | {"model.norm.weight": other})
    refused(folder, rf"looks for 'model\.norm\.weight' in {other}, which does not have it")


def test_a_tensor_that_an_index_does_not_name_is_not_lost(folder):
    places = shard(folder)
    write_index(folder, {name: file for name, file in places.items() if name != "model.norm.weight"})
    refused(folder, r"has tensors that model\.safetensors\.index\.json does not name: model\.norm\.weight")


# In half precision, and never twice in memory


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_a_model_saved_in_two_bytes_opens_as_float32(model, tmp_path, dtype, step):
    save_model(model, tmp_path, dtype=dtype)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == dtype
    loaded = load_model(tmp_path)
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == np.float32
        np.testing.assert_allclose(loaded.state_dict()[name], value, rtol=step, atol=1e-7)
    save_model(loaded, tmp_path / "again", dtype=dtype)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_several_files_may_be_in_half_precision(model, tmp_path):
    save_model(model, tmp_path, dtype="float16")
    whole = load_model(tmp_path)
    shard(tmp_path)
    assert_same(load_model(tmp_path), whole)


def test_a_type_in_which_no_weights_are_saved_is_refused_before_anything_is_written(model, tmp_path):
    with pytest.raises(InputError, match="weights are saved as float32, float16, bfloat16, got 'int8'"):
        save_model(model, tmp_path / "new", dtype="int8")
    assert not (tmp_path / "new").exists()


MEMORY = """
import sys
from numformer.pretrained import load_model

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

before = kilobytes("VmRSS:")
model = load_model(sys.argv[1])
print((kilobytes("VmHWM:") - before) / (model.num_parameters() * 4 / 1024))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say what memory a process has")
@pytest.mark.parametrize(
    ("kind", "dtype"), [(Llama, "float32"), (Llama, "float16"), (Llama, "bfloat16"), (GPT, "float32")]
)
def test_opening_takes_the_memory_of_the_weights_once(tmp_path, kind, dtype):
    """Mapped, converted or turned round: at most one tensor is there twice. The weights have 34 MB, a tensor one or less."""
    shape = {"d_model": 256, "num_heads": 4, "num_layers": 8, "d_ff": 1024}
    save_model(kind(vocab_size=100, max_seq_len=8, **shape), tmp_path, dtype=dtype)
    result = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 1.25


def test_training_in_place_leaves_the_file_as_it_was(folder):
    before = (folder / "model.safetensors").read_bytes()
    loaded = load_model(folder)
    for parameter in loaded.parameters():
        parameter.data *= 2.0
    assert (folder / "model.safetensors").read_bytes() == before


# Tensors that are not weights, and names that others have


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        (Llama(vocab_size=11, **SMALL), {"model.layers.0.self_attn.rotary_emb.inv_freq": (2,)}),
        (Llama(vocab_size=11, **SMALL, tie_embeddings=True), {"lm_head.weight": (11, 8)}),
        (GPT(vocab_size=11, **SMALL), {"transformer.h.1.attn.bias": (1, 1, 7, 7), "lm_head.weight": (11, 8)}),
        (GPT(vocab_size=11, **SMALL), {"transformer.h.0.attn.masked_bias": ()}),
        (
            GPTNeoX(vocab_size=11, **SMALL, rotary_pct=0.5),
            {"gpt_neox.layers.0.attention.bias": (1, 1, 7, 7), "gpt_neox.layers.1.attention.rotary_emb.inv_freq": (2,)},
        ),
        (build_model(BertConfig(vocab_size=11, **SMALL), "mlm"), {"bert.embeddings.position_ids": (1, 7)}),
        (build_model(BertConfig(vocab_size=11, **SMALL), "mlm"), {"cls.predictions.decoder.weight": (11, 8)}),
    ],
    ids=["rotary", "tied llama", "gpt2", "gpt2 mask", "neox", "bert positions", "tied bert"],
)
def test_tensors_that_hold_no_weight_of_their_own_are_passed_over_in_silence(tmp_path, capsys, model, extra):
    save_model(model, tmp_path)
    change(tmp_path, lambda tensors: tensors.update({name: np.ones(s, np.float32) for name, s in extra.items()}))
    assert_same(load_model(tmp_path), model)
    assert capsys.readouterr().err == ""


def test_weights_of_another_head_are_left_out_and_named(tmp_path, capsys):
    model = build_model(BertConfig(vocab_size=11, **SMALL), "mlm")
    save_model(model, tmp_path)
    extra = {"cls.seq_relationship.weight": np.ones((2, 8), np.float32), "cls.seq_relationship.bias": np.ones(2, "f4")}
    change(tmp_path, lambda tensors: tensors.update(extra))
    assert_same(load_model(tmp_path), model)
    said = "left out, for MaskedLM has no place for them: cls.seq_relationship.bias, cls.seq_relationship.weight\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("kind", [BertConfig, RobertaConfig])
def test_the_layer_that_makes_summaries_is_kept_for_what_starts_from_a_masked_model(tmp_path, capsys, kind):
    save_model(build_model(kind(vocab_size=11, **SMALL), "mlm"), tmp_path)
    name = f"{kind.model_type}.pooler.dense"
    extra = {f"{name}.weight": np.full((8, 8), 0.1, np.float32), f"{name}.bias": np.ones(8, np.float32)}
    change(tmp_path, lambda tensors: tensors.update(extra))
    save_model(load_model(tmp_path), tmp_path / "again")
    classifier = SequenceClassifier(load_model(tmp_path / "again").backbone, 2, pooling="first")
    np.testing.assert_array_equal(classifier.backbone.pooler.weight.data, extra[f"{name}.weight"])
    assert capsys.readouterr().err == ""


def test_tensors_that_nobody_knows_are_still_refused(folder):
    change(folder, lambda tensors: tensors.update({"model.layers.0.extra": np.ones(2, np.float32)}))
    refused(folder, r"unexpected: model\.layers\.0\.extra")


def test_the_same_weight_under_two_names_is_refused(folder):
    change(folder, lambda tensors: tensors.update({"norm.weight": np.ones(8, np.float32)}))
    refused(folder, r"unexpected: norm\.weight")


@pytest.mark.parametrize(
    ("model", "prefix"),
    [(GPT(vocab_size=11, **SMALL), "transformer."), (Llama(vocab_size=11, **SMALL, tie_embeddings=True), "model.")],
    ids=["gpt2", "llama"],
)
def test_a_base_model_whose_names_have_no_prefix_is_read_as_a_language_model(tmp_path, model, prefix):
    """The files of GPT-2 on the hub are so."""
    save_model(model, tmp_path)

    def strip(tensors):
        for name in list(tensors):
            tensors[name.removeprefix(prefix)] = tensors.pop(name)

    change(tmp_path, strip)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = [f"{'GPT2' if prefix == 'transformer.' else 'Llama'}Model"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_model(tmp_path)
    assert type(loaded) is type(model)
    assert_same(loaded, model)


def test_the_gamma_and_beta_of_old_bert_files_are_weights_and_biases(tmp_path):
    model = build_model(BertConfig(vocab_size=11, **SMALL), "mlm", seed=4)
    model.backbone.embeddings.norm.weight.data[:] = np.arange(8)
    save_model(model, tmp_path)

    def rename(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)

    change(tmp_path, rename)
    assert "bert.embeddings.LayerNorm.gamma" in ArrayFile(tmp_path / "model.safetensors").places
    assert_same(load_model(tmp_path), model)


# What cannot be right


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_that_are_no_numbers_are_refused_by_name(model, tmp_path, number, dtype):
    model.layers[1].self_attn.q_proj.weight.data[3, 2] = number
    save_model(model, tmp_path, dtype=dtype)
    refused(
        tmp_path, r"model\.layers\.1\.self_attn\.q_proj\.weight in model\.safetensors holds values that are no finite"
    )


def test_large_numbers_whose_sum_no_float_holds_are_numbers(model, folder):
    change(folder, lambda tensors: tensors["model.norm.weight"].fill(3e38))
    assert load_model(folder).norm.weight.data.tolist() == [np.float32(3e38)] * 8


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("pytorch_model.bin", "pickles"),
        ("pytorch_model.bin.index.json", "pickles"),
        ("model.ckpt", "pickles"),
        ("tf_model.h5", "files of other libraries"),
    ],
)
def test_no_pickle_is_read_and_the_way_out_is_said(folder, file, why):
    (folder / "model.safetensors").rename(folder / file)
    refused(folder, f"has its weights in {file}; {why}.* are not read: .*save_pretrained")


def test_a_config_of_more_layers_than_the_file_has_tensors_is_refused_before_it_is_built(folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 16_000}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("numformer.models.disk.build_model", lambda *_: pytest.fail("a model was built"))
    refused(folder, "a model of 16,000 layers has more than the 21 tensors there are")


def test_of_many_wrong_names_the_first_are_listed(tmp_path):
    small, large = (Llama(vocab_size=11, **{**SMALL, "num_layers": n}) for n in (1, 8))
    save_model(large, tmp_path)
    with pytest.raises(InputError, match=r"unexpected: model\.layers\.1\..* and 55 more$"):
        load_folder_weights(small, tmp_path)


def test_a_folder_that_is_larger_than_the_memory_is_refused_before_anything_is_reserved(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemAvailable:  1 kB\n")
    monkeypatch.setattr("numformer.models.disk.build_model", lambda *_: pytest.fail("a model was built"))
    refused(folder, r"its weights take at least 0\.0 GB as float32, and 0\.0 GB of memory are free")


def test_where_the_system_does_not_tell_what_is_free_all_its_memory_counts(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "none")
    load_model(folder)
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    refused(folder, r"its weights take at least 0\.0 GB as float32, and 0\.0 GB of memory are free")


def test_configs_of_both_kinds_still_say_their_type(tmp_path):
    for config in (GPTConfig(vocab_size=11, **SMALL), LlamaConfig(vocab_size=11, **SMALL)):
        save_model(build_model(config, "lm"), tmp_path / config.model_type)
        keys = json.loads((tmp_path / config.model_type / "config.json").read_text())
        assert (keys["model_type"], keys["dtype"]) == (config.model_type, "float32")
