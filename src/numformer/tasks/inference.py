"""Running a trained model on many inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numformer.autograd import Tensor, no_grad
from numformer.data.batches import LengthBatches
from numformer.errors import InputError
from numformer.tasks.objective import EVALUATION_TOKENS
from numformer.training.progress import track
from numformer.training.workers import Workers, num_cores


def as_texts(texts: Any) -> list[str]:
    """Return texts as a list; raises InputError for what is no text, and for one text in the place of a list."""
    texts = as_list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"expected a list of texts, got {repr(text)[:60]} as number {number}")
    return texts


def as_list(texts: Any) -> list[Any]:
    """Return a list; raises InputError for one text in its place, whose characters would be taken for texts."""
    if isinstance(texts, str):
        raise InputError(f"expected a list of texts, got the text {texts[:60]!r}: put it in brackets")
    return list(texts)


def run_batches(
    model: Any, rows: Sequence[np.ndarray], work: Callable[[list[int]], Sequence[Any]], progress: bool = True
) -> list[Any]:
    """Return the result of each row: `work` gets the numbers of rows of similar length, without dropout or gradients."""
    if not rows:
        return []
    lengths = [max(1, len(row)) for row in rows]
    batches = list(LengthBatches(lengths, batch_tokens=max(EVALUATION_TOKENS, *lengths)))

    def run(numbers: np.ndarray) -> Sequence[Any]:
        with no_grad():
            return work(numbers.tolist())

    results: list[Any] = [None] * len(rows)
    was_training = model.training
    model.eval()
    try:
        with Workers(num_cores()) as workers:
            found = track(workers.map(run, batches), len(batches), show=progress)
            for numbers, answers in zip(batches, found, strict=True):
                for number, answer in zip(numbers, answers, strict=True):
                    results[number] = answer
    finally:
        model.train(was_training)
    return results


def values(result: Any) -> np.ndarray:
    """Return the array of a model's output."""
    return result.data if isinstance(result, Tensor) else np.asarray(result)
