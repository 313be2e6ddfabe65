"""Regression: numbers in the units of the data, learned in units of their own."""

import json

import numpy as np
import pytest

from numformer import Classifier, GPTConfig, InputError, LanguageModel, MaskedLanguageModel, Regressor, load
from numformer.models import SequenceRegressor
from numformer.models.gpt import GPT
from numformer.training import TrainConfig

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "dropout": 0.0, "vocab_size": 300}
FAST = {"lr": 1e-2, "batch_size": 16, "shards": 1, "progress": False}
COLOURS = {"red": 0.0, "green": 100.0, "blue": 400.0}
THINGS = {"ball": 10.0, "book": 20.0, "hat": 40.0, "cup": 55.0}
PRICES = [(f"a {c} {t}", 5000.0 + COLOURS[c] + THINGS[t]) for c in COLOURS for t in THINGS]


def make(data=PRICES, **settings):
    return Regressor.from_data(data, **SMALL | {"valid_fraction": 0.0} | settings)


@pytest.fixture(scope="module")
def fitted():
    task = make()
    task.fit(steps=150, **FAST)
    return task


def test_numbers_are_learned_in_the_units_of_the_data(fitted):
    found = fitted.predict([text for text, _ in PRICES])
    assert [each["text"] for each in found] == [text for text, _ in PRICES]
    assert all(each.keys() == {"text", "value"} for each in found)
    gold = [price for _, price in PRICES]
    np.testing.assert_allclose([each["value"] for each in found], gold, atol=40)
    scores = fitted.evaluate(PRICES)
    errors = [each["value"] - price for each, price in zip(found, gold, strict=True)]
    assert scores["mean_squared_error"] == pytest.approx(np.mean(np.square(errors)))
    assert scores["loss"] == pytest.approx(scores["mean_squared_error"] / np.var(gold))
    assert scores["pearson"] > 0.98
    assert scores["spearman"] > 0.9
    assert scores["count"] == len(PRICES)


def test_the_model_learns_numbers_of_mean_0_and_deviation_1():
    task = make()
    objective = task.objective(TrainConfig(batch_size=len(PRICES)))
    targets = objective.batch(1)[-1]
    assert targets.dtype == np.float32
    assert targets.mean() == pytest.approx(0.0, abs=1e-6)
    assert targets.std() == pytest.approx(1.0, abs=1e-6)
    assert task.model.mean == pytest.approx(np.mean([price for _, price in PRICES]))
    assert task.model.std == pytest.approx(np.std([price for _, price in PRICES]))


def test_the_units_are_those_of_what_is_trained_on_and_not_of_what_is_held_out():
    task = make(valid=[("a red sun", 1e6), ("a blue sun", 2e6)])
    assert task.model.mean == pytest.approx(np.mean([price for _, price in PRICES]))
    task = make(valid_fraction=0.25)
    assert task.model.mean == pytest.approx(np.mean([price for _, price in task.train_data]))


def test_the_loss_is_the_mean_squared_error_by_hand():
    task = make()
    task.model.eval()
    objective = task.objective(TrainConfig(batch_size=len(PRICES)))
    *inputs, targets = objective.batch(1)
    outputs = task.model(*inputs).data[:, 0]
    loss = objective.loss_sum(*inputs, targets).item() / objective.num_tokens(*inputs, targets)
    assert loss == pytest.approx(np.square(outputs - targets).mean(), rel=1e-5)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1e-6), (1e6, 1.0), (0.0, 1e8)])
def test_units_do_not_change_what_is_learned(fitted, shift, scale):
    task = make([(text, shift + scale * price) for text, price in PRICES])
    task.fit(steps=150, **FAST)
    found = [each["value"] for each in task.predict([text for text, _ in PRICES])]
    expected = [shift + scale * each["value"] for each in fitted.predict([text for text, _ in PRICES])]
    np.testing.assert_allclose(found, expected, atol=60 * scale)


def test_one_number_that_repeats_is_learned_and_correlates_with_nothing():
    task = make([(text, 0.1) for text, _ in PRICES])
    assert (task.model.mean, task.model.std) == (0.1, 1.0)
    task.fit(steps=3, **FAST)
    scores = task.evaluate([(text, 0.1) for text, _ in PRICES])
    assert scores["pearson"] == scores["spearman"] == 0.0
    assert np.isfinite(scores["loss"])


def test_numbers_whose_squares_are_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"the numbers reach from -1e\+200 to 1e\+200: their squares are out of range"):
        make([("a", -1e200), ("b", 1e200)])


@pytest.mark.parametrize("given", [("a", "3"), ("a", True), ("a", float("nan")), ("a",), (1, 2), "ab"])
def test_what_is_no_text_with_a_number_is_named(given):
    with pytest.raises(InputError, match=r"example 1 is .*, expected a pair of a text and a finite number"):
        make([("fine", 1.0), given])


def test_whole_numbers_are_numbers():
    assert make([("a", 1), ("b", 3)]).model.mean == 2.0


def test_texts_that_differ_in_case_and_spaces_alone_are_held_out_together():
    data = [(spelling, float(i)) for i in range(10) for spelling in (f"Text {i}", f"text  {i}")]
    task = make(data, valid_fraction=0.3)
    numbers = {number for _, number in task.valid_data}
    assert numbers
    assert not numbers & {number for _, number in task.train_data}


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_saved_folder_predicts_the_same_in_the_same_units(fitted, pooling, tmp_path):
    task = fitted if pooling == "mean" else make(pooling="first")
    task.save(tmp_path)
    loaded = load(tmp_path)
    assert type(loaded) is Regressor
    assert type(loaded.model) is SequenceRegressor
    assert loaded.config.pooling == pooling
    assert loaded.predict(["a red hat", ""]) == task.predict(["a red hat", ""])
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["target_mean"], config["target_std"]) == (task.model.mean, task.model.std)


def test_a_folder_of_a_regressor_is_no_classifier_and_the_other_way_round(fitted, tmp_path):
    fitted.save(tmp_path / "regressor")
    Classifier.from_data([("a", "x"), ("b", "y")], **SMALL, valid_fraction=0.0).save(tmp_path / "classifier")
    with pytest.raises(InputError, match="holds a SequenceRegressor, but Classifier needs a SequenceClassifier"):
        Classifier.load(tmp_path / "regressor")
    with pytest.raises(InputError, match="holds a SequenceClassifier, but Regressor needs a SequenceRegressor"):
        Regressor.load(tmp_path / "classifier")


def test_the_best_of_a_run_is_in_its_units_too(tmp_path):
    task = make(valid_fraction=0.25)
    task.fit(steps=4, eval_every=2, out=tmp_path / "run", **FAST)
    assert (load(tmp_path / "run" / "best").model.mean, load(tmp_path / "run").model.mean) == (task.model.mean,) * 2


def test_an_encoder_and_a_language_model_become_regressors(tmp_path):
    text = "".join(f"{text}\n" for text, _ in PRICES) * 4
    shape = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16}
    MaskedLanguageModel.from_text(text, **shape).save(tmp_path / "mlm")
    LanguageModel.from_text(text, **shape).save(tmp_path / "lm")
    data = {"valid_fraction": 0.0, "freeze": "backbone"}
    encoder = Regressor.from_data(PRICES, pretrained=str(tmp_path / "mlm"), **data)
    writer = Regressor.from_data(PRICES, pretrained=str(tmp_path / "lm"), pooling="first", **data)
    assert isinstance(writer.model.backbone, GPT)
    assert isinstance(writer.model.config, GPTConfig)
    for task in (encoder, writer):
        before = task.model.head.weight.data.copy()
        task.fit(steps=2, **FAST)
        assert not np.array_equal(before, task.model.head.weight.data)
        assert len(task.predict(["a red hat"])) == 1


def test_a_regressor_goes_on_in_its_own_units(fitted, tmp_path):
    fitted.save(tmp_path)
    task = Regressor.from_data([("a red sun", 1.0), ("a sea", 2.0)], pretrained=str(tmp_path), valid_fraction=0.0)
    assert (task.model.mean, task.model.std) == (fitted.model.mean, fitted.model.std)
    assert task.predict(["a red hat"]) == fitted.predict(["a red hat"])
    with pytest.raises(InputError, match="pools by 'mean': say so with pooling"):
        Regressor.from_data(PRICES, pretrained=str(tmp_path), pooling="first")


def test_attention_is_that_of_a_text_between_its_ends(fitted):
    (layer,) = fitted.attention("a red hat")
    assert layer.weights.shape == (2, len(layer.queries), len(layer.keys))
    assert "red" in layer.queries


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_numbers_may_be_those_of_numpy(kind):
    task, expected = make([(text, kind(price)) for text, price in PRICES]), make()
    assert (task.model.mean, task.model.std) == (expected.model.mean, expected.model.std)
    train = TrainConfig(batch_size=len(PRICES))
    np.testing.assert_array_equal(task.objective(train).batch(1)[-1], expected.objective(train).batch(1)[-1])


@pytest.mark.parametrize("number", [10**400, np.float32("inf"), np.bool_(True), np.array([1.0])])
def test_a_number_that_no_float_holds_is_refused_in_a_sentence(number):
    with pytest.raises(InputError, match=r"example 1 is .*, expected a pair of a text and a finite number"):
        make([("a chair", 1.0), ("a table", number)])
