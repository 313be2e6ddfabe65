import json

import numpy as np
import pytest

from numformer import random
from numformer.errors import InputError
from numformer.metrics import accuracy, classification_scores, confusion_matrix, macro_f1

GOLD = ["cat", "cat", "cat", "dog", "dog", "owl"]
PREDICTED = ["cat", "cat", "dog", "dog", "owl", "cat"]
LABELS = ["owl", "dog", "cat", "fox"]


def random_labels(seed, count):
    rng = random.generator(seed)
    return rng.choice(list("aaabcd"), count).tolist(), rng.choice(list("aabbce"), count).tolist()


def test_accuracy_is_the_share_of_right_labels():
    assert accuracy(PREDICTED, GOLD) == 3 / 6


def test_rows_of_the_confusion_matrix_are_gold_and_columns_predicted():
    expected = [[0, 0, 1, 0], [1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]
    matrix = confusion_matrix(PREDICTED, GOLD, LABELS)
    assert matrix.tolist() == expected
    assert matrix.dtype == np.int64


def test_macro_f1_weighs_every_label_alike():
    assert macro_f1(PREDICTED, GOLD) == pytest.approx((2 * 2 / 6 + 2 * 1 / 4 + 0) / 3)


def test_macro_f1_counts_a_label_that_was_only_predicted_as_zero():
    assert macro_f1(["a", "b"], ["a", "a"]) == pytest.approx((2 / 3 + 0) / 2)


def test_scores_of_each_class():
    scores = classification_scores(PREDICTED, GOLD, LABELS)
    assert scores["accuracy"] == accuracy(PREDICTED, GOLD)
    assert list(scores["classes"]) == LABELS
    assert scores["classes"]["cat"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3})
    assert scores["classes"]["dog"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2})
    assert scores["classes"]["fox"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_a_known_label_that_never_occurs_does_not_lower_macro_f1():
    assert classification_scores(PREDICTED, GOLD, LABELS)["macro_f1"] == macro_f1(PREDICTED, GOLD)


def test_scores_can_be_written_as_json():
    scores = classification_scores(PREDICTED, GOLD, LABELS)
    assert json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_gives_the_same_scores(seed):
    theirs = pytest.importorskip("sklearn.metrics")
    predicted, gold = random_labels(seed, count=10 + 40 * seed)
    labels = sorted({*predicted, *gold})
    precision, recall, f1, support = theirs.precision_recall_fscore_support(
        gold, predicted, labels=labels, zero_division=0
    )
    scores = classification_scores(predicted, gold, labels)
    assert (confusion_matrix(predicted, gold, labels) == theirs.confusion_matrix(gold, predicted, labels=labels)).all()
    assert scores["accuracy"] == pytest.approx(theirs.accuracy_score(gold, predicted))
    assert scores["macro_f1"] == pytest.approx(theirs.f1_score(gold, predicted, average="macro", zero_division=0))
    for name, values in [("precision", precision), ("recall", recall), ("f1", f1), ("support", support)]:
        assert [scores["classes"][label][name] for label in labels] == pytest.approx(values.tolist())


@pytest.mark.parametrize("score", [accuracy, macro_f1])
def test_lists_of_different_length_are_refused(score):
    with pytest.raises(InputError, match="got 1 prediction for 2 gold labels: one for each was expected"):
        score(["a"], ["a", "b"])


@pytest.mark.parametrize("score", [accuracy, macro_f1])
def test_nothing_to_score_is_refused(score):
    with pytest.raises(InputError, match="nothing to score"):
        score([], [])


@pytest.mark.parametrize(("predicted", "gold", "side"), [("ax", "aa", "predicted"), ("aa", "ax", "gold")])
def test_an_unknown_label_is_named_with_its_position(predicted, gold, side):
    with pytest.raises(InputError, match=f"the {side} label 'x' at position 1 is not one of the 2 labels"):
        confusion_matrix(list(predicted), list(gold), ["a", "b"])


def test_labels_given_twice_are_refused():
    with pytest.raises(InputError, match="labels must be distinct, got 3 of which 2 differ"):
        confusion_matrix(["a"], ["a"], ["a", "b", "a"])
