import json

import numpy as np
import pytest

from numformer import GPT, InputError, Llama
from numformer.nn import Linear
from numformer.nn.lora import lora_layers
from numformer.pretrained import (
    LoRAConfig,
    adapt,
    kept_state,
    load_folder_weights,
    load_model,
    merge,
    read_safetensors,
    save_model,
    write_gguf,
    write_safetensors,
)
from numformer.pretrained.adapters import weights_checksum

SMALL = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "num_layers": 2, "max_seq_len": 12}
TOKENS = np.random.default_rng(0).integers(0, 11, (2, 5))


def make(folder, kind=Llama, **settings):
    """Save a model, and return it with adapters whose second factors are not 0."""
    save_model(kind(**SMALL), folder)
    model = load_model(folder)
    adapt(model, LoRAConfig(**{"rank": 2, "alpha": 4.0} | settings), folder)
    rng = np.random.default_rng(1)
    for _, layer in lora_layers(model):
        layer.lora_B.data[...] = rng.standard_normal(layer.lora_B.shape)
    return model


@pytest.fixture
def adapted(tmp_path):
    model = make(tmp_path / "base")
    save_model(model, tmp_path / "adapter")
    return model


def change(folder, **keys):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def names_in(folder):
    return set(read_safetensors(folder / "adapter_model.safetensors")[0])


@pytest.mark.parametrize("kind", [Llama, GPT])
def test_saved_adapters_give_the_same_logits(kind, tmp_path):
    model = make(tmp_path / "base", kind)
    save_model(model, tmp_path / "adapter")
    np.testing.assert_array_equal(load_model(tmp_path / "adapter")(TOKENS).data, model(TOKENS).data)


def test_only_the_adapters_are_written_and_the_base_stays_as_it_is(tmp_path):
    model = make(tmp_path / "base")
    before = (tmp_path / "base" / "model.safetensors").read_bytes()
    save_model(model, tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == before
    assert set(kept_state(model)) == {
        f"layers.{n}.self_attn.{proj}.{part}"
        for n in (0, 1)
        for proj in ("q_proj", "k_proj", "v_proj", "out_proj")
        for part in ("lora_A", "lora_B")
    }


def test_names_on_disk_are_those_of_peft(adapted, tmp_path):
    first = "base_model.model.model.layers.0.self_attn"
    assert {f"{first}.q_proj.lora_A.weight", f"{first}.o_proj.lora_B.weight"} <= names_in(tmp_path / "adapter")
    keys = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert keys["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert (keys["r"], keys["lora_alpha"], keys["fan_in_fan_out"]) == (2, 4.0, False)


def test_gpt2_says_that_its_matrices_lie_the_other_way_round(tmp_path):
    save_model(make(tmp_path / "base", GPT), tmp_path / "adapter")
    keys = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert keys["fan_in_fan_out"] is True
    assert keys["target_modules"] == ["attn.c_attn", "attn.c_proj"]  # c_proj alone would be that of the mlp too
    weights, _ = read_safetensors(tmp_path / "adapter" / "adapter_model.safetensors")
    first = "base_model.model.transformer.h.0.attn.c_attn"
    assert weights[f"{first}.lora_A.weight"].shape == (2, 8)
    assert weights[f"{first}.lora_B.weight"].shape == (24, 2)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q_proj"], "0.self_attn.q_proj 1.self_attn.q_proj"),
        (["o_proj"], "0.self_attn.out_proj 1.self_attn.out_proj"),  # its name on disk
        (["layers.1.feed_forward.*"], "1.feed_forward.linear1 1.feed_forward.linear2 1.feed_forward.linear3"),
        (["layers.0.self_attn.q_proj", "layers.1.self_attn.v_proj"], "0.self_attn.q_proj 1.self_attn.v_proj"),
    ],
)
def test_targets_are_ends_of_names_or_patterns(targets, expected, tmp_path):
    model = make(tmp_path / "base", targets=tuple(targets))
    expected = {f"layers.{name}" for name in expected.split()}
    assert {name for name, _ in lora_layers(model)} == expected
    save_model(model, tmp_path / "adapter")
    assert {name for name, _ in lora_layers(load_model(tmp_path / "adapter"))} == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_adapter_of_peft_gives_its_logits(kind, golden_adapters, peft_folder, tmp_path):
    arrays, config = golden_adapters
    model, logits = load_model(peft_folder(kind)), arrays[f"{kind}.logits"]
    tokens = np.array(config["tokens"])
    np.testing.assert_allclose(model(tokens).data, logits, rtol=1e-4, atol=1e-5)
    merge(model)
    np.testing.assert_allclose(model(tokens).data, logits, rtol=1e-4, atol=1e-5)
    assert np.abs(load_model(tmp_path / "base")(tokens).data - logits).max() > 0.1  # the adapter does something


def test_merged_weights_are_saved_as_an_ordinary_folder(adapted, tmp_path):
    before = adapted(TOKENS).data
    merge(adapted)
    save_model(adapted, tmp_path / "merged")
    merged = load_model(tmp_path / "merged")
    assert not list(lora_layers(merged))
    np.testing.assert_allclose(merged(TOKENS).data, before, atol=1e-5)


def test_a_gguf_file_may_be_the_base(tmp_path):
    pytest.importorskip("tokenizers")
    pytest.importorskip("gguf")
    from numformer.tokenizers import SubwordTokenizer

    tokenizer = SubwordTokenizer.train("bpe", ["the cat sat on the mat"] * 3, 270)
    model = Llama(**SMALL | {"vocab_size": tokenizer.vocab_size, "d_model": 32})
    write_gguf(model, tokenizer, tmp_path / "base.gguf", dtype="f32")
    base = load_model(tmp_path / "base.gguf")
    adapt(base, LoRAConfig(rank=2), tmp_path / "base.gguf")
    save_model(base, tmp_path / "adapter")
    np.testing.assert_array_equal(load_model(tmp_path / "adapter")(TOKENS).data, base(TOKENS).data)
    with pytest.raises(InputError, match="merge them"):
        write_gguf(base, tokenizer, tmp_path / "adapted.gguf")


def test_the_base_may_have_moved(adapted, tmp_path):
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"its base .*base is not there: give the folder, the file or the name"):
        load_model(tmp_path / "adapter")
    found = load_model(tmp_path / "adapter", tmp_path / "elsewhere")
    np.testing.assert_array_equal(found(TOKENS).data, adapted(TOKENS).data)


def test_a_base_with_other_weights_is_refused(adapted, tmp_path):
    save_model(Llama(**SMALL, seed=7), tmp_path / "base")
    with pytest.raises(InputError, match="has other weights now than those that it was trained on"):
        load_model(tmp_path / "adapter")


def test_the_checksum_is_of_the_weights_alone(tmp_path):
    save_model(Llama(**SMALL), tmp_path / "base")
    before = weights_checksum(tmp_path / "base")
    (tmp_path / "base" / "notes.txt").write_text("any")
    assert weights_checksum(tmp_path / "base") == before
    save_model(Llama(**SMALL, seed=7), tmp_path / "base")
    assert weights_checksum(tmp_path / "base") != before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            GPT(**SMALL),
            r"it does not fit GPT: it has no base_model\.model\.model\.layers\.0\.self_attn\.k_proj\.lora_A",
        ),
        (Llama(**SMALL | {"d_model": 16}), r"it does not fit Llama: .*lora_A \(got \[2, 8\], expected \[2, 16\]\)"),
        (Llama(**SMALL | {"num_layers": 1}), r"it does not fit Llama: it has no .*layers\.1\."),
        (Llama(**SMALL | {"num_layers": 3}), r"it has no weights for layers\.2\.self_attn\.q_proj"),
    ],
    ids=["another architecture", "another width", "fewer layers", "more layers"],
)
def test_adapters_for_another_model_are_refused_in_one_sentence(other, message, adapted, tmp_path):
    save_model(other, tmp_path / "other")
    with pytest.raises(InputError, match=message) as error:
        load_model(tmp_path / "adapter", tmp_path / "other")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"peft_type": "IA3"}, "its peft_type is 'IA3'; only LORA is read"),
        ({"use_dora": True}, "it has use_dora, which is not read"),
        ({"alpha_pattern": {"q_proj": 3}}, "it has alpha_pattern, which is not read"),
        ({"modules_to_save": ["lm_head"]}, "it has modules_to_save, which is not read"),
        ({"bias": "all"}, r"it has biases \(bias is 'all'\)"),
        ({"r": "two"}, "r, lora_alpha and lora_dropout must be numbers"),
        ({"r": 3}, r"got \[2, 8\], expected \[3, 8\]"),
        ({"lora_alpha": -1}, "alpha must be a number above 0"),
        ({"base_model_name_or_path": None}, "it does not say which model it belongs to"),
        ({"base_model_name_or_path": "x" * 5000}, "its base x+ is not there"),
        ({"base_model_name_or_path": "a\0b"}, "its base a.b is not there"),
    ],
)
def test_settings_that_are_not_read_are_refused(keys, message, adapted, tmp_path):
    change(tmp_path / "adapter", **keys)
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "adapter")


def test_a_rank_stabilised_adapter_is_scaled_by_the_root_of_its_rank(adapted, tmp_path):
    change(tmp_path / "adapter", use_rslora=True)
    scales = {layer.scale for _, layer in lora_layers(load_model(tmp_path / "adapter"))}
    assert [*scales] == pytest.approx([4.0 / np.sqrt(2)])


def test_a_rank_stabilised_adapter_is_the_same_when_it_is_saved_again(adapted, tmp_path):
    change(tmp_path / "adapter", use_rslora=True)
    model = load_model(tmp_path / "adapter")
    save_model(model, tmp_path / "again")
    np.testing.assert_array_equal(load_model(tmp_path / "again")(TOKENS).data, model(TOKENS).data)


def test_a_merged_model_saved_over_adapters_is_read_as_itself(adapted, tmp_path):
    merge(adapted)
    save_model(adapted, tmp_path / "adapter")
    assert type(load_model(tmp_path / "adapter").layers[0].self_attn.q_proj) is Linear
    assert not list((tmp_path / "adapter").glob("adapter*"))


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_an_adapter_that_lacks_a_part_is_refused(part, adapted, tmp_path):
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights, metadata = read_safetensors(file)
    del weights[f"base_model.model.model.layers.0.self_attn.q_proj.{part}.weight"]
    metadata.pop("crc32")
    write_safetensors(file, weights, metadata)
    with pytest.raises(InputError, match=rf"q_proj\.{part} \(got nothing"):
        load_model(tmp_path / "adapter")


def test_weights_that_are_no_numbers_are_refused(adapted, tmp_path):
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights, metadata = read_safetensors(file)
    next(iter(weights.values()))[0, 0] = np.nan
    metadata.pop("crc32")
    write_safetensors(file, weights, metadata)
    with pytest.raises(InputError, match="holds values that are no numbers"):
        load_model(tmp_path / "adapter")


def test_a_damaged_adapter_is_refused(adapted, tmp_path):
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="does not have the checksum"):
        load_model(tmp_path / "adapter")


def test_adapters_of_adapters_are_refused(adapted, tmp_path):
    with pytest.raises(InputError, match="has adapters itself: merge them"):
        load_model(tmp_path / "adapter", tmp_path / "adapter")


def test_adapters_that_name_themselves_as_their_base_are_refused(adapted, tmp_path):
    change(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "adapter"))
    with pytest.raises(InputError, match="has adapters itself: merge them"):
        load_model(tmp_path / "adapter")


def test_a_base_that_is_not_there_is_refused(adapted, tmp_path):
    with pytest.raises(InputError, match=r"its base .*missing is not there"):
        load_model(tmp_path / "adapter", tmp_path / "missing")


def test_the_adapters_of_one_model_can_be_given_to_another(adapted, tmp_path):
    other = make(tmp_path / "base")
    for _, layer in lora_layers(other):
        layer.lora_B.data[...] = 0
    load_folder_weights(other, tmp_path / "adapter")
    np.testing.assert_array_equal(other(TOKENS).data, adapted(TOKENS).data)


def test_an_unknown_target_is_refused_with_the_names_that_there_are(tmp_path):
    with pytest.raises(InputError, match=r"no linear layer of Llama is called 'c_attn'; there are q_proj.*, o_proj"):
        make(tmp_path / "base", targets=("c_attn",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"rank": -1}, "rank of adapters"), ({"alpha": 0.0}, "alpha must be"), ({"dropout": 1.0}, "dropout of adapters")],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LoRAConfig(**settings)
