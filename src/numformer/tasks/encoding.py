"""Texts as rows of ids [T], or of word features [T C], with the special tokens that a tokenizer has around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numformer.data.batches import LengthBatches, pad
from numformer.errors import InputError
from numformer.tape import no_grad
from numformer.tasks.objective import EVALUATION_TOKENS
from numformer.tensor import Tensor
from numformer.training.progress import track
from numformer.training.workers import Workers, num_cores


def pad_id(tokenizer: Any) -> int:
    """Return the id that fills batches up; any will do for a tokenizer without one, since padding is masked."""
    return getattr(tokenizer, "pad_id", None) or 0


def special_id(tokenizer: Any, name: str) -> int:
    """Return a special token's id; raises InputError when the tokenizer has none."""
    number = getattr(tokenizer, name, None)
    if number is None:
        raise InputError(f"this task needs a tokenizer with a {name}; {type(tokenizer).__name__} has none")
    return int(number)


def encode_spans(tokenizer: Any, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids [T] or features [T C] of a text and the characters [T 2] that each stands for."""
    ids, spans = tokenizer.encode_spans(text)
    return np.asarray(ids, np.int64), np.asarray(spans, np.int64).reshape(-1, 2)


def special_row(tokenizer: Any, name: str, like: np.ndarray) -> np.ndarray:
    """Return a special token as a row to put beside ids [T] or features [T C]; no row where there is no such token."""
    number = getattr(tokenizer, name, None)
    if number is None:
        return like[:0]
    row = np.full((1, *like.shape[1:]), pad_id(tokenizer))
    row[0, ...] = number if like.ndim == 1 else [number, *row[0, 1:]]
    return row


def framed(tokenizer: Any, text: str, max_seq_len: int) -> np.ndarray:
    """Return a text between the begin and end tokens, cut to the context length."""
    ids = encode_spans(tokenizer, text)[0]
    first, last = special_row(tokenizer, "bos_id", ids), special_row(tokenizer, "eos_id", ids)
    kept = ids[: max_seq_len - len(first) - len(last)]
    framed = np.concatenate([first, kept, last])[:max_seq_len]
    return framed if len(framed) else np.zeros((1, *ids.shape[1:]), np.int64)


def check_list(texts: Any) -> None:
    """Raise InputError for one text in the place of a list, whose characters would be taken for texts."""
    if isinstance(texts, str):
        raise InputError(f"expected a list of texts, got the text {texts[:60]!r}: put it in brackets")


def padded(rows: Sequence[np.ndarray], value: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows under each other, filled up with `value`, and the mask [B T] of what is real."""
    lengths = np.array([len(row) for row in rows])
    table = pad(rows, value)
    return table, np.arange(table.shape[1]) < lengths[:, None]


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
