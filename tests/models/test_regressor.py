"""The head for numbers: one output, which Hugging Face calls a classifier with a problem_type."""

import json

import numpy as np
import pytest

from numformer import BertConfig, GPTConfig, InputError, build_model
from numformer.models import SequenceRegressor
from numformer.pretrained import load_model, save_model

SMALL = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "num_layers": 1, "max_seq_len": 7}
TOKENS = np.array([[1, 2, 3], [4, 5, 0]])
MASK = np.array([[True, True, True], [True, True, False]])


def make(kind=BertConfig, **settings):
    return build_model(kind(**SMALL), "regress", seed=3, **settings)


@pytest.mark.parametrize("kind", [BertConfig, GPTConfig])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_folder_gives_the_same_numbers_in_the_same_units(kind, pooling, tmp_path):
    model = make(kind, mean=3.5, std=0.25, pooling=pooling).eval()
    assert model(TOKENS, MASK).shape == (2, 1)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded) is SequenceRegressor
    assert (loaded.mean, loaded.std, loaded.pooling) == (3.5, 0.25, pooling)
    np.testing.assert_array_equal(loaded(TOKENS, MASK).data, model(TOKENS, MASK).data)


def test_the_config_is_that_of_a_regression_of_hugging_face(tmp_path):
    save_model(make(pooling="first"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "LABEL_0"})


def test_the_weights_have_the_names_of_a_classifier_of_one_label(tmp_path):
    save_model(make(), tmp_path / "regressor")
    save_model(build_model(BertConfig(**SMALL), "classify", labels=1, seed=3), tmp_path / "classifier")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("regressor", "classifier"))
    assert one == other


def test_a_folder_of_others_without_units_predicts_as_it_is(tmp_path):
    save_model(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["target_mean"], config["target_std"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert (load_model(tmp_path).mean, load_model(tmp_path).std) == (0.0, 1.0)


@pytest.mark.parametrize("value", ["3", None, True, float("nan")])
def test_units_that_are_no_numbers_are_named(tmp_path, value):
    save_model(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"target_mean": value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: target_mean must be a number, got"):
        load_model(tmp_path)


@pytest.mark.parametrize("std", [0, -0.5])
def test_a_deviation_on_disk_is_above_0(tmp_path, std):
    save_model(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"target_std": std}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: target_std must be above 0, got"):
        load_model(tmp_path)


@pytest.mark.parametrize("units", [{"std": 0.0}, {"std": -1.0}, {"std": float("inf")}, {"mean": float("nan")}])
def test_units_in_which_no_number_can_be_learned_are_refused(units):
    with pytest.raises(InputError, match="a regressor needs a finite mean and a finite std above 0, got mean="):
        make(**units)
