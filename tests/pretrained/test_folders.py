import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from numformer import GPT, GPTConfig, InputError
from numformer.optim import AdamW
from numformer.pretrained import load_model, read_metadata, save_model, write_safetensors

GOLDEN = Path(__file__).parents[1] / "golden" / "gpt2.safetensors"
FILES = ("config.json", "model.safetensors")


@pytest.fixture
def model():
    return GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=2, d_ff=20, max_seq_len=4, dropout=0.1, seed=3)


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture(scope="module")
def golden():
    with safe_open(GOLDEN, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, json.loads(file.metadata()["config"])


def edit_config(folder, remove=(), **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key not in remove}))


def refused(folder, message):
    """Check that loading fails with one line that matches and names a file of the folder."""
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_saved_model_comes_back_whole(model, folder):
    loaded = load_model(folder)
    assert loaded.config == model.config
    assert not loaded.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], value)


def test_saving_what_was_loaded_gives_the_same_bytes(folder, tmp_path):
    save_model(load_model(folder), tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_names_and_layout_are_those_of_gpt2(golden, tmp_path):
    arrays, config = golden
    model = GPT(GPTConfig.from_disk(config))
    save_model(model, tmp_path)
    ours = load_file(tmp_path / "model.safetensors")
    theirs = {name.removeprefix("weight."): a.shape for name, a in arrays.items() if name.startswith("weight.")}
    assert {name: array.shape for name, array in ours.items()} == theirs
    np.testing.assert_array_equal(
        ours["transformer.h.0.mlp.c_fc.weight"], model.state_dict()["layers.0.feed_forward.linear1.weight"].T
    )
    written = json.loads((tmp_path / "config.json").read_text())
    assert written.items() >= config.items()
    assert written["model_type"] == "gpt2"
    assert written["architectures"] == ["GPT2LMHeadModel"]


def test_a_folder_that_hugging_face_wrote_gives_its_logits(golden, tmp_path):
    arrays, config = golden
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **config}))
    weights = {name.removeprefix("weight."): a for name, a in arrays.items() if name.startswith("weight.")}
    save_file(weights, tmp_path / "model.safetensors")
    logits = load_model(tmp_path)(arrays["tokens"]).data
    np.testing.assert_allclose(logits, arrays["logits"], rtol=1e-4, atol=1e-4)


def test_saved_loaded_and_trained_a_step_is_as_never_saved(model, folder):
    loaded = load_model(folder)
    for each in (model.eval(), loaded):
        optimizer = AdamW(each.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (each(np.array([[1, 2, 3, 4], [4, 4, 0, 10]])) * 0.1).sum().backward()
            optimizer.step()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], value)


def test_the_head_is_still_tied_after_loading(folder):
    loaded = load_model(folder)
    tokens = np.array([[1, 2]])
    before = loaded(tokens).data
    loaded.token_embedding.weight.data[7] *= 2.0
    after = loaded(tokens).data
    np.testing.assert_allclose(after[..., 7], 2.0 * before[..., 7], rtol=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    refused(folder, f"there is no .*{name}")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    refused(folder, r"config\.json (cannot be read as JSON|holds)")


@pytest.mark.parametrize("key", ["vocab_size", "n_embd", "n_head", "n_layer", "n_positions"])
def test_a_config_that_lacks_a_key_is_refused(folder, key):
    edit_config(folder, remove=[key])
    refused(folder, rf"config\.json lacks {key}")


@pytest.mark.parametrize("kind", ["mamba", None, 3, []])
def test_an_unknown_architecture_is_refused(folder, kind):
    edit_config(folder, model_type=kind)
    refused(folder, r"config\.json: model_type is .*, supported are bart, bert, distilbert, gemma2")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_embd", "x", "d_model must be a positive whole number"),
        ("n_embd", 8.0, "d_model must be a positive whole number"),
        ("n_embd", None, "d_model must be a positive whole number"),
        ("n_embd", 10**30, "d_model must be a positive whole number"),
        ("n_head", 3, "num_heads=3 does not divide d_model=8"),
        ("n_head", 0, "num_heads must be a positive whole number"),
        ("n_layer", -1, "num_layers must be a positive whole number"),
        ("n_layer", [2], "num_layers must be a positive whole number"),
        ("n_inner", "x", "d_ff must be a positive whole number"),
        ("n_positions", {}, "max_seq_len must be a positive whole number"),
        ("vocab_size", "x", "vocab_size must be a whole number"),
        ("vocab_size", True, "vocab_size must be a whole number"),
        ("n_positions", True, "max_seq_len must be a positive whole number"),
        ("vocab_size", 0, "vocab_size of at least 1, got 0"),
        ("resid_pdrop", "x", "dropout must be at least 0 and below 1"),
        ("resid_pdrop", 1.0, "dropout must be at least 0 and below 1"),
        ("layer_norm_epsilon", "x", "layer_norm_eps must be a number above 0"),
        ("layer_norm_epsilon", 0, "layer_norm_eps must be a number above 0"),
        ("activation_function", "mish", "unknown activation 'mish'"),
        ("activation_function", [], "unknown activation"),
    ],
)
def test_a_config_with_a_wrong_value_is_refused(folder, key, value, message):
    edit_config(folder, **{key: value})
    refused(folder, message)


def test_a_config_without_inner_width_means_four_times_the_width(model, folder):
    wide = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=2, max_seq_len=4)
    save_model(wide, folder)
    edit_config(folder, n_inner=None)
    assert load_model(folder).config.ff_width == 32


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:9], lambda b: b"x" + b[1:], lambda b: b + b"x"]
)
def test_a_damaged_weight_file_is_named(folder, damage):
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    refused(folder, r"model\.safetensors is damaged or not a safetensors file")


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("transformer.ln_f.bias"), r"do not fit GPT: missing: transformer\.ln_f\.bias"),
        (lambda w: w.update(extra=np.ones(2, np.float32)), "do not fit GPT: unexpected: extra"),
        (
            lambda w: w.update({"transformer.ln_f.bias": np.ones(9, np.float32)}),
            r"ln_f\.bias \(got \[9\], expected \[8\]",
        ),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_weights_that_do_not_fit_are_listed(folder, change, message):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    refused(folder, message)


def test_half_precision_weights_become_float32(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: value.astype(np.float16) for name, value in weights.items()}, folder / "model.safetensors")
    loaded = load_model(folder)
    assert {p.dtype for p in loaded.parameters()} == {np.dtype("float32")}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_saved_model_as_it_was(model, folder, monkeypatch, step):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {name: (folder / name).read_bytes() for name in FILES}
    model.norm.bias.data += 1.0
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(InputError, match=r"could not write .*model\.safetensors: No space left on device"):
        save_model(model, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_bit_flipped_inside_the_numbers_is_found_and_the_file_named(folder, share):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    first = 8 + int.from_bytes(content[:8], "little")
    content[first + int(share * (len(content) - first))] ^= 4
    file.write_bytes(content)
    refused(folder, r"model\.safetensors is damaged: its content does not have the checksum that was written with it")


def test_any_byte_that_changes_is_found(folder):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    for position in range(0, len(content), 61):
        changed = bytearray(content)
        changed[position] ^= 1
        file.write_bytes(changed)
        with pytest.raises(InputError, match=r"model\.safetensors"):
            load_model(folder)


def test_a_file_without_a_checksum_is_read_as_it_is(model, folder):
    weights = load_file(folder / "model.safetensors")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    loaded = load_model(folder)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], value)


def test_files_are_what_the_library_reads_with_aligned_arrays_and_the_format_that_others_ask_for(tmp_path):
    arrays = {
        "small": np.arange(3, dtype=np.int8),
        "numbers": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        "nothing": np.zeros((0, 4), np.float16),
        "one": np.array(7, np.int64),
        "flags": np.array([True, False]),
    }
    write_safetensors(tmp_path / "file.safetensors", arrays, {"format": "pt", "step": "3"})
    found = load_file(tmp_path / "file.safetensors")
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    assert read_metadata(tmp_path / "file.safetensors").items() >= {"format": "pt", "step": "3"}.items()
    with (tmp_path / "file.safetensors").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        places = json.loads(file.read(length))
    assert length % 8 == 0
    for name, value in arrays.items():
        assert places[name]["data_offsets"][0] % value.dtype.itemsize == 0
