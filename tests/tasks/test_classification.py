import dataclasses

import numpy as np
import pytest

from numformer import Classifier, InputError, LanguageModel
from numformer.metrics import macro_f1
from numformer.models import GPTConfig, SequenceClassifier
from numformer.models.gpt import GPT

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 32, "dropout": 0.0, "vocab_size": 300}
FAST = {"lr": 1e-2, "batch_size": 16, "shards": 1, "progress": False}
TOPICS = {"red": "colour", "two": "number", "cat": "animal", "oak": "tree", "tea": "drink"}
FILLERS = ["the", "of", "and", "on", "at", "so"]


def examples(count=100, topics=5, seed=0):
    """Return texts in which one word decides the label."""
    rng, result = np.random.default_rng(seed), []
    for number in range(count):
        word = list(TOPICS)[number % topics]
        words = rng.choice(FILLERS, rng.integers(1, 7)).tolist()
        words.insert(int(rng.integers(0, len(words) + 1)), word)
        result.append((" ".join(words), TOPICS[word]))
    return result


def texts_of(examples):
    return [text for text, _ in examples]


@pytest.fixture(scope="module")
def classifier():
    task = Classifier.from_data(examples(), valid_fraction=0.2, **SMALL)
    task.fit(steps=100, **FAST)
    return task


@pytest.mark.parametrize("topics", [2, 3, 5])
def test_any_number_of_labels_is_learned(topics):
    task = Classifier.from_data(examples(topics=topics), valid_fraction=0.2, **SMALL)
    task.fit(steps=100, **FAST)
    assert task.model.labels == sorted(list(TOPICS.values())[:topics])
    assert task.evaluate()["accuracy"] == 1.0
    unseen = examples(40, topics, seed=1)
    assert [found["label"] for found in task.predict(texts_of(unseen))] == [label for _, label in unseen]


@pytest.mark.parametrize("tokenizer", ["bpe", "bytes", "characters"])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_every_tokenizer_and_pooling_learns(tokenizer, pooling):
    data = [("ab" if number % 2 else "cde", "xy"[number % 2]) for number in range(20)]
    task = Classifier.from_data(data, tokenizer=tokenizer, pooling=pooling, valid_fraction=0.0, **SMALL)
    task.fit(steps=80, **FAST)
    assert task.model.pooling == pooling
    assert task.evaluate(data)["accuracy"] == 1.0


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_language_model_becomes_a_classifier(pooling, tmp_path):
    data = examples(60, topics=3)
    text = "\n".join(texts_of(data)) + "\n"
    lm = LanguageModel.from_text(text, d_model=16, num_heads=2, num_layers=1, max_seq_len=32)
    lm.save(tmp_path)
    task = Classifier.from_data(data, pretrained=tmp_path, pooling=pooling, valid_fraction=0.0)
    assert isinstance(task.model.backbone, GPT)
    for name, value in lm.model.state_dict().items():
        np.testing.assert_array_equal(task.model.backbone.state_dict()[name], value)
    assert task.tokenizer.encode("red").tolist() == lm.tokenizer.encode("red").tolist()
    before = task.evaluate(data)
    task.fit(steps=100, **FAST)
    assert task.evaluate(data)["loss"] < 0.5 * before["loss"]
    found = task.predict([*texts_of(data), "", "a"])
    for each in found[::7] + found[-2:]:
        (alone,) = task.predict([each["text"]])
        assert each["scores"] == pytest.approx(alone["scores"], rel=1e-4)
    found = task.predict(texts_of(data))
    task.save(tmp_path / "classifier")
    assert Classifier.load(tmp_path / "classifier").predict(texts_of(data)) == found


def test_results_come_in_the_order_of_the_texts_whatever_their_lengths(classifier):
    data = examples(300, seed=2)
    found = classifier.predict(texts_of(data))
    assert [each["text"] for each in found] == texts_of(data)
    assert np.mean([each["label"] == label for each, (_, label) in zip(found, data, strict=True)]) > 0.95


def test_a_batch_gives_what_each_text_gives_alone(classifier):
    texts = texts_of(examples(30, seed=3))
    for text, together in zip(texts, classifier.predict(texts), strict=True):
        (alone,) = classifier.predict([text])
        assert together["label"] == alone["label"]
        assert together["scores"] == pytest.approx(alone["scores"], rel=1e-4, abs=1e-7)


def test_scores_are_probabilities_of_every_label_and_the_best_is_the_answer(classifier):
    for found in classifier.predict(texts_of(examples(20, seed=4))):
        assert sum(found["scores"].values()) == pytest.approx(1.0, abs=1e-12)
        assert list(found["scores"]) == classifier.model.labels
        assert found["score"] == max(found["scores"].values()) == found["scores"][found["label"]]


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "bytes", "characters"])
def test_an_empty_text_is_a_text(tokenizer):
    task = Classifier.from_data(examples(20), tokenizer=tokenizer, **SMALL)
    empty = task.predict(["", "red"])[0]
    assert sum(empty["scores"].values()) == pytest.approx(1.0)
    assert empty["scores"] == pytest.approx(task.predict([""])[0]["scores"], rel=1e-4)
    assert task.predict([]) == []


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "bytes", "characters"])
@pytest.mark.parametrize("max_seq_len", [1, 2, 3, 8])
def test_a_text_over_the_context_is_cut(tokenizer, max_seq_len):
    task = Classifier.from_data(examples(20), tokenizer=tokenizer, **SMALL | {"max_seq_len": max_seq_len})
    text = "the cat and the oak and " * 20
    (found,) = task.predict([text])
    assert found["scores"] == task.predict([text[:140]])[0]["scores"]
    task.fit(steps=1, **FAST)


def test_a_cut_text_keeps_its_beginning_and_the_end_token(classifier):
    tokens = classifier._encoded([("red " * 100, "tree")])[0][0].tokens[:, 0]
    assert len(tokens) == 32
    assert [tokens[0], tokens[-1]] == [classifier.tokenizer.bos_id, classifier.tokenizer.eos_id]
    assert set(tokens[1:-1]) == {classifier.tokenizer.encode("red")[0]}


def test_evaluation_has_the_figures_one_would_count_by_hand(classifier, tmp_path):
    data = [("red", "colour"), ("red so", "tree"), ("tea", "drink"), ("two", "number"), ("two of", "number")]
    scores = classifier.evaluate(data, confusion_matrix=tmp_path / "matrix.png")
    found = classifier.predict(texts_of(data))
    assert [each["label"] for each in found] == ["colour", "colour", "drink", "number", "number"]
    assert scores["count"] == 5
    assert scores["accuracy"] == 0.8
    losses = [-np.log(each["scores"][label]) for each, (_, label) in zip(found, data, strict=True)]
    assert scores["loss"] == pytest.approx(np.mean(losses), rel=1e-9)
    assert scores["classes"]["colour"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert scores["classes"]["tree"]["recall"] == 0.0
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_validation_of_a_run_is_the_evaluation_of_its_held_out_texts(classifier):
    task = Classifier.from_data(examples(), valid_fraction=0.2, **SMALL)
    result = task.fit(steps=5, eval_every=5, **FAST)
    scores = task.evaluate()
    assert scores["loss"] == pytest.approx(result.val_loss, rel=1e-5)
    assert scores["accuracy"] == result.best["accuracy"]


UNKNOWN = [("red", "colour"), ("red so", "tree"), ("tea", "drink"), ("two", "metal"), ("tin", "metal")]
SAID = "2 of 5 labels are unknown to the model and count as wrong: 'metal' (2)\n"


def test_a_label_that_the_model_does_not_know_is_said_and_counts_as_wrong(classifier, tmp_path, capsys):
    scores = classifier.evaluate(UNKNOWN, confusion_matrix=tmp_path / "matrix.png")
    assert capsys.readouterr().err == SAID
    assert (scores["accuracy"], scores["count"]) == (2 / 5, 5)
    assert scores["loss"] == pytest.approx(classifier.evaluate(UNKNOWN[:3])["loss"])
    assert scores["classes"]["metal"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}
    predicted = [each["label"] for each in classifier.predict(texts_of(UNKNOWN))]
    assert scores["macro_f1"] == macro_f1(predicted, [label for _, label in UNKNOWN])
    assert (tmp_path / "matrix.png").exists()


def test_a_file_with_a_label_that_the_model_does_not_know_is_measured(classifier, tmp_path, capsys):
    (tmp_path / "test.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in UNKNOWN))
    assert classifier.evaluate(tmp_path / "test.csv")["accuracy"] == 2 / 5
    assert capsys.readouterr().err.endswith(SAID)


@pytest.mark.parametrize("class_weights", [False, True])
def test_a_label_that_only_the_held_out_texts_have_counts_as_wrong_in_training(class_weights, capsys):
    data = [each for each in examples() if each[1] in ("colour", "tree", "drink")]
    task = Classifier.from_data(data, valid=UNKNOWN, class_weights=class_weights, **SMALL)
    result = task.fit(steps=40, eval_every=40, **FAST)
    assert capsys.readouterr().err == SAID
    scores = task.evaluate()
    assert result.best["accuracy"] == scores["accuracy"] == pytest.approx(2 / 5, abs=0.2)
    if not class_weights:
        assert result.best["loss"] == pytest.approx(scores["loss"], rel=1e-5)


def test_equal_texts_are_on_one_side_of_the_split():
    data = [(f"{word} {filler}", TOPICS[word]) for word in TOPICS for filler in FILLERS]
    task = Classifier.from_data([*data, *((text.upper(), label) for text, label in data)], valid_fraction=0.3, **SMALL)
    seen, held_out = ({text.lower() for text, _ in part} for part in (task.train_data, task.valid_data))
    assert held_out
    assert not seen & held_out


@pytest.mark.parametrize("seed", range(5))
def test_a_label_of_which_all_texts_happen_to_be_held_out_is_one_of_the_labels(seed):
    data = [*examples(20, topics=2), ("oak", "tree"), ("cat", "animal")]
    task = Classifier.from_data(data, seed=seed, valid_fraction=0.5, class_weights=True, **SMALL)
    assert task.model.labels == ["animal", "colour", "number", "tree"]
    assert np.isfinite(task.fit(steps=2, **FAST).val_loss)


def test_a_classifier_that_knows_the_labels_goes_on_with_its_head(classifier, tmp_path):
    classifier.save(tmp_path)
    task = Classifier.from_data(examples(20, topics=3), pretrained=tmp_path, valid_fraction=0.0)
    assert task.model.labels == classifier.model.labels
    assert task.predict(["red"]) == classifier.predict(["red"])
    with pytest.raises(InputError, match="pools by 'mean': say so with pooling"):
        Classifier.from_data(examples(20, topics=3), pretrained=tmp_path, valid_fraction=0.0, pooling="first")


def test_a_classifier_with_other_labels_gets_a_new_head(classifier, tmp_path):
    classifier.save(tmp_path)
    data = [(text, label.upper()) for text, label in examples(20, topics=3)]
    task = Classifier.from_data(data, pretrained=tmp_path, valid_fraction=0.0)
    assert task.model.labels == ["ANIMAL", "COLOUR", "NUMBER"]
    assert isinstance(task.model, SequenceClassifier)
    assert len(task.predict(["red"])[0]["scores"]) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda task: task.evaluate([("x", "colur")] * 2),
            r"none of the labels is known .* it has 5: .* data 'colur' \(2\)",
        ),
        (lambda task: task.evaluate([]), "no examples in the list"),
        (lambda task: Classifier.from_data([("a", "x"), ("b", "x")]), "at least two labels, got only 'x'"),
        (lambda task: Classifier.from_data([]), "at least one example, got none"),
        (lambda task: Classifier.from_data("no/such.csv"), "no/such.csv"),
        (lambda task: Classifier.from_data(examples(), pooling="max"), "unknown pooling 'max'"),
        (lambda task: Classifier.from_data(examples(), model=GPTConfig()), "GPTConfig"),
        (
            lambda task: Classifier.from_data(examples(), valid=[("red", "colur")]).fit(steps=1),
            r"the data 'colur' \(1\)",
        ),
        (
            lambda task: Classifier.from_data(["red", "two"]),
            "example 0 is 'red', expected a pair of a text and its label",
        ),
        (lambda task: Classifier.from_data([("red", "x"), ("two", 1)]), r"example 1 is \('two', 1\), expected a pair"),
        (lambda task: Classifier.from_data(examples(), valid=["red"]), "example 0 is 'red', expected a pair"),
        (lambda task: task.evaluate([("red", 1)]), r"example 0 is \('red', 1\), expected a pair"),
        (lambda task: task.predict("red"), "a list of texts"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(classifier, make, message):
    with pytest.raises(InputError, match=message) as caught:
        make(classifier)
    assert "\n" not in str(caught.value)


def test_a_file_and_a_list_of_its_examples_give_the_same_model(tmp_path):
    data = examples(30)
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in data))
    tasks = [Classifier.from_data(source, seed=3, **SMALL) for source in (tmp_path / "data.csv", data)]
    for task in tasks:
        task.fit(steps=2, **FAST)
    assert tasks[0].valid_data == tasks[1].valid_data
    for name, value in tasks[0].model.state_dict().items():
        np.testing.assert_array_equal(tasks[1].model.state_dict()[name], value)


def test_columns_of_other_names_are_found_by_them(tmp_path):
    (tmp_path / "data.tsv").write_text("id\tsays\tis\n1\tred\tx\n2\ttwo\ty\n")
    task = Classifier.from_data(tmp_path / "data.tsv", text="says", label="is", valid_fraction=0.0, **SMALL)
    assert task.train_data == [("red", "x"), ("two", "y")]
    assert task.evaluate(tmp_path / "data.tsv")["count"] == 2, "the file to evaluate on has the same columns"


@pytest.mark.parametrize("columns", [("subject", "body"), ["subject", "body"]])
def test_several_columns_of_text_are_joined(tmp_path, columns):
    (tmp_path / "data.csv").write_text("label,subject,body\nx,red,\ny,two,trees\n")
    task = Classifier.from_data(tmp_path / "data.csv", text=columns, valid_fraction=0.0, **SMALL)
    assert task.train_data == [("red", "x"), ("two trees", "y")]
    assert task.config.text == ("subject", "body")


def test_whole_configs_may_be_given_instead_of_their_fields():
    config = dataclasses.replace(Classifier.data_config(), pooling="first", vocab_size=300)
    model = dataclasses.replace(Classifier.model_config, d_model=16, num_heads=2, num_layers=1)
    task = Classifier.from_data(examples(20), config=config, model=model)
    assert (task.model.pooling, task.model.config.d_model) == ("first", 16)


@pytest.mark.parametrize("data", [None, ""])
def test_no_data_is_not_the_current_folder(data):
    with pytest.raises(InputError, match="there is no data: give a file or a list of examples"):
        Classifier.from_data(data)


@pytest.mark.parametrize(("batch_size", "epoch"), [(20, "1 step"), (10, "2 steps")])
def test_the_length_of_an_epoch_is_said_in_steps(batch_size, epoch):
    task = Classifier.from_data(examples(20), valid_fraction=0.0, **SMALL)
    described = task.objective(dataclasses.replace(task.train_config, batch_size=batch_size)).describe()
    assert f"20 examples to train on (an epoch is {epoch}), none held out" in described


def test_class_weights_have_no_part_in_the_validation_loss():
    task = Classifier.from_data(
        [("red", "x")] * 9 + [("two", "y")] * 3, valid_fraction=0.5, class_weights=True, **SMALL
    )
    result = task.fit(steps=3, **FAST | {"lr": 0.03})
    each = [
        -np.log(row["scores"][label])
        for row, (_, label) in zip(task.predict([text for text, _ in task.valid_data]), task.valid_data, strict=True)
    ]
    assert result.best["loss"] == pytest.approx(np.mean(each), rel=1e-5)
