"""Accuracy, F1 and the confusion matrix of labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.metrics.pairs import check_pairs


def accuracy(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Return the share of labels that are right; raises InputError when the lists do not pair up."""
    check_pairs(predicted, gold, "gold labels")
    return sum(p == g for p, g in zip(predicted, gold, strict=True)) / len(gold)


def macro_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Return the mean F1 of the labels that occur in either list; a label that is never right has 0.

    Raises InputError when the lists do not pair up.
    """
    matrix = confusion_matrix(predicted, gold, sorted({*predicted, *gold}))
    return float(_precision_recall_f1(matrix)[2].mean())


def confusion_matrix(predicted: Sequence[str], gold: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """Count the pairs: entry [i j] is how often gold label i was predicted as label j, both numbered as in `labels`.

    Shape [C C]. Raises InputError when the lists do not pair up, or for a label that is not in `labels`.
    """
    check_pairs(predicted, gold, "gold labels")
    number = {label: i for i, label in enumerate(labels)}
    if len(number) < len(labels):
        raise InputError(f"labels must be distinct, got {len(labels)} of which {len(number)} differ")
    rows, columns = _numbers(gold, number, "gold"), _numbers(predicted, number, "predicted")
    C = len(labels)
    return np.bincount(rows * C + columns, minlength=C * C).reshape(C, C)


def classification_scores(predicted: Sequence[str], gold: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Return accuracy, macro F1, and under "classes" the precision, recall, F1 and support of each of `labels`.

    "confusion" holds the counts of `confusion_matrix`, a list for each gold label. A share of nothing is 0. Raises
    InputError as `confusion_matrix` does.
    """
    matrix = confusion_matrix(predicted, gold, labels)
    columns = [column.tolist() for column in (*_precision_recall_f1(matrix), matrix.sum(1))]
    names = ("precision", "recall", "f1", "support")
    return {
        "accuracy": accuracy(predicted, gold),
        "macro_f1": macro_f1(predicted, gold),
        "classes": {label: dict(zip(names, row, strict=True)) for label, *row in zip(labels, *columns, strict=True)},
        "confusion": matrix.tolist(),
    }


def _precision_recall_f1(matrix: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    hits, predicted, support = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    sizes = predicted, support, (predicted + support) / 2  # F1 is the harmonic mean of the first two shares
    return tuple(hits / np.where(size, size, 1) for size in sizes)


def _numbers(given: Sequence[str], number: dict[str, int], side: str) -> NDArray[np.int64]:
    for position, label in enumerate(given):
        if label not in number:
            raise InputError(
                f"the {side} label {label!r} at position {position} is not one of the {len(number)} labels"
            )
    return np.array([number[label] for label in given], np.int64)
