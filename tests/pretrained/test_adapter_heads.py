"""Adapters with a head that is trained beside them, as PEFT keeps it."""

import json

import numpy as np
import pytest

from numformer import BertConfig, InputError, Transformer, build_model
from numformer.models.heads import HEADS
from numformer.nn.lora import lora_layers
from numformer.pretrained import (
    LoRAConfig,
    adapt,
    kept_state,
    load_model,
    merge,
    read_safetensors,
    save_model,
    write_safetensors,
)

SHAPE = {"vocab_size": 17, "d_model": 8, "num_heads": 2, "num_layers": 2, "max_seq_len": 12}
TOKENS = np.random.default_rng(0).integers(2, 17, (2, 5))
SETTINGS = {"classify": {"labels": ["no", "yes", "so"], "pooling": "first"}, "regress": {"mean": 3.0, "std": 2.0}}


def make(folder, task="classify", targets=(), **settings):
    """Save an encoder, and return a model with a new head on it and adapters whose second factors are not 0."""
    save_model(build_model(BertConfig(**SHAPE), "mlm"), folder)
    model = HEADS[task](load_model(folder).backbone, **SETTINGS.get(task, {}) | settings).eval()
    adapt(model, LoRAConfig(rank=2, targets=targets), folder)
    rng = np.random.default_rng(1)
    for _, layer in lora_layers(model):
        layer.lora_B.data[...] = rng.standard_normal(layer.lora_B.shape)
    return model


@pytest.fixture
def adapted(tmp_path):
    model = make(tmp_path / "base")
    save_model(model, tmp_path / "adapter")
    return model


def rewrite(folder, changed):
    """Put what `changed` makes of the weights of an adapter in their place."""
    file = folder / "adapter_model.safetensors"
    weights, _ = read_safetensors(file)
    write_safetensors(file, changed(weights), {})


HEADED = ["bert_classify", "roberta_classify", "distilbert_classify", "gpt2_classify", "bert_tag", "bert_qa"]


@pytest.mark.parametrize("kind", HEADED)
def test_an_adapter_of_peft_brings_its_head(kind, golden_adapters, peft_folder):
    arrays, config = golden_adapters
    model, logits = load_model(peft_folder(kind)), arrays[f"{kind}.logits"]
    tokens = np.array(config["texts"])
    np.testing.assert_allclose(model(tokens).data, logits, rtol=1e-4, atol=1e-5)
    merge(model)
    np.testing.assert_allclose(model(tokens).data, logits, rtol=1e-4, atol=1e-5)
    assert getattr(model, "labels", ["LABEL_0", "LABEL_1", "LABEL_2"]) == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("kind", HEADED)
def test_an_adapter_of_peft_is_the_same_when_it_is_saved_again(kind, peft_folder, tmp_path):
    model = load_model(peft_folder(kind))
    save_model(model, tmp_path / "again")
    np.testing.assert_array_equal(load_model(tmp_path / "again")(TOKENS).data, model(TOKENS).data)


@pytest.mark.parametrize("task", ["classify", "regress", "tag", "qa"])
def test_a_saved_head_is_read_with_its_adapters(task, tmp_path):
    model = make(tmp_path / "base", task)
    save_model(model, tmp_path / "adapter")
    found = load_model(tmp_path / "adapter")
    np.testing.assert_array_equal(found(TOKENS).data, model(TOKENS).data)
    assert found.to_disk() == model.to_disk()


def test_the_head_and_the_adapters_alone_are_trained_and_kept(adapted, tmp_path):
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained == set(kept_state(adapted))
    parts = {name.rpartition(".")[0] for name in trained if "lora_" not in name}
    assert parts == {"head", "backbone.pooler"}
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        *("adapter_config.json", "adapter_model.safetensors", "config.json"),
    }


def test_the_layout_is_that_of_peft(adapted, tmp_path):
    keys = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert keys["task_type"] == "SEQ_CLS"
    assert keys["modules_to_save"] == ["classifier", "pooler"]
    assert keys["target_modules"] == [
        *("attention.output.dense", "attention.self.key", "attention.self.query", "attention.self.value"),
    ]
    names = set(read_safetensors(tmp_path / "adapter" / "adapter_model.safetensors")[0])
    first = "base_model.model.bert.encoder.layer.0.attention.self.query"
    assert {
        *("base_model.model.classifier.weight", "base_model.model.classifier.bias"),
        *("base_model.model.bert.pooler.dense.weight", f"{first}.lora_A.weight", f"{first}.lora_B.weight"),
    } <= names


def test_merged_it_is_an_ordinary_classifier(adapted, tmp_path):
    before = adapted(TOKENS).data
    merge(adapted)
    save_model(adapted, tmp_path / "merged")
    found = load_model(tmp_path / "merged")
    assert found.labels == ["no", "yes", "so"]
    np.testing.assert_allclose(found(TOKENS).data, before, atol=1e-5)


def test_targets_are_layers_of_the_backbone_and_the_error_names_them(tmp_path):
    assert {name for name, _ in lora_layers(make(tmp_path / "base", targets=("*",)))}.isdisjoint(
        {"head", "backbone.pooler"}
    )
    with pytest.raises(InputError, match=r"called 'classifier'; there are q_proj, query, .*linear1, linear2$"):
        make(tmp_path / "base", targets=("classifier",))


def test_a_head_that_the_file_lacks_is_refused(adapted, tmp_path):
    rewrite(tmp_path / "adapter", lambda weights: {n: v for n, v in weights.items() if "classifier.weight" not in n})
    with pytest.raises(InputError, match=r"classifier\.weight \(got nothing, expected \[3, 8\]\)"):
        load_model(tmp_path / "adapter")
    (tmp_path / "adapter" / "config.json").unlink()
    with pytest.raises(InputError, match=r"it has no classifier\.weight, which is new for its task \(classify\)"):
        load_model(tmp_path / "adapter")


def test_a_summary_that_neither_the_file_nor_the_base_has_is_refused(adapted, tmp_path):
    rewrite(tmp_path / "adapter", lambda weights: {n: v for n, v in weights.items() if "pooler" not in n})
    with pytest.raises(InputError, match=r"bert\.pooler\.dense\.weight \(got nothing, expected \[8, 8\]\)"):
        load_model(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            lambda w: w | {"base_model.model.lm_head.weight": np.ones((2, 2), np.float32)},
            r"it has no .*lm_head\.weight",
        ),
        (
            lambda w: w | {"base_model.model.classifier.bias": np.ones(2, np.float32)},
            r"classifier\.bias \(got \[2\], expected \[3\]\)",
        ),
        (
            lambda w: w | {"base_model.model.classifier.bias": np.full(3, np.nan, np.float32)},
            r"classifier\.bias holds values that are no numbers",
        ),
    ],
    ids=["another part", "another shape", "no numbers"],
)
def test_weights_that_do_not_fit_are_refused(changed, message, adapted, tmp_path):
    rewrite(tmp_path / "adapter", changed)
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_type": "roberta"}, "config.json: model_type is 'roberta', the model's is 'bert'"),
        ({"architectures": ["BertModel"]}, "expected a class with a head"),
        ({"id2label": {"1": "a"}}, "id2label must number the labels from 0"),
    ],
)
def test_a_config_of_another_model_is_refused(keys, message, adapted, tmp_path):
    file = tmp_path / "adapter" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "adapter")


def test_without_a_config_one_output_is_a_regression_as_in_transformers(tmp_path):
    save_model(make(tmp_path / "base", "regress", pooling="first"), tmp_path / "adapter")
    (tmp_path / "adapter" / "config.json").unlink()
    found = load_model(tmp_path / "adapter")
    assert (type(found).__name__, found.mean, found.std) == ("SequenceRegressor", 0.0, 1.0)


def test_without_a_config_the_labels_are_those_of_a_base_with_as_many(adapted, tmp_path):
    merge(adapted)
    save_model(adapted, tmp_path / "classifier")
    (tmp_path / "adapter" / "config.json").unlink()
    assert load_model(tmp_path / "adapter").labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert load_model(tmp_path / "adapter", tmp_path / "classifier").labels == ["no", "yes", "so"]


def test_a_base_that_takes_no_head_is_refused(adapted, tmp_path):
    save_model(Transformer(17, 17, d_model=8, num_heads=2), tmp_path / "other")
    with pytest.raises(InputError, match="its base is a Transformer, which takes no head"):
        load_model(tmp_path / "adapter", tmp_path / "other")


def test_a_known_name_is_a_base(adapted, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    name = "all-minilm-l6-v2"
    with pytest.raises(InputError, match=rf"its base {name} is not there: .*numformer models fetch {name}"):
        load_model(tmp_path / "adapter", name)
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "base").rename(tmp_path / "cache" / "models" / name)
    found = load_model(tmp_path / "adapter", name)
    np.testing.assert_array_equal(found(TOKENS).data, adapted(TOKENS).data)
    save_model(found, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "adapter_config.json").read_text())["base_model_name_or_path"] == name
    np.testing.assert_array_equal(load_model(tmp_path / "again")(TOKENS).data, adapted(TOKENS).data)
