"""What a language model is measured by: the likelihood of a text, and which of several answers it takes for the likeliest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from numformer import ops
from numformer._notices import say_share
from numformer.autograd import inference
from numformer.data.batching.batches import LengthBatches, pad
from numformer.data.files.examples import Examples, collect
from numformer.data.files.rows import clean_text, json_field, json_kind, json_rows
from numformer.errors import InputError
from numformer.models.backbone import CausalModel
from numformer.ops.loss import IGNORE
from numformer.tasks.shared.objective import EVALUATION_TOKENS, Batch
from numformer.tokenizers import Tokenizer, begin_ids, encode_after, encode_text


class TextScores(TypedDict):
    """Loss (nats per token), perplexity and the number of tokens that were predicted."""

    loss: float
    perplexity: float
    tokens: int


class ChoiceScores(TypedDict):
    """Shares of questions whose right answer is the likeliest, by the sum and by the mean over its tokens; their number."""

    accuracy: float
    normalised_accuracy: float
    questions: int


class Question(NamedTuple):
    """What is asked, the answers to choose from, and the number of the right one."""

    prompt: str
    choices: tuple[str, ...]
    answer: int


def text_scores(loss: float, count: float) -> TextScores:
    """Return the scores of a mean loss over so many tokens."""
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "tokens": int(count)}


def strided_windows(tokens: np.ndarray, length: int, stride: int) -> Iterator[Batch]:
    """Yield windows of a text [1 T] that begin `stride` tokens apart, each with the targets that none before had.

    So every token but the first is predicted once, from at least length - stride tokens where so many come before it.
    Raises InputError for a stride that is not 1 to `length`, and a text of fewer than two tokens.
    """
    if not 1 <= stride <= length:
        raise InputError(f"stride must be 1 to {length}, the tokens that the model sees at a time, got {stride}")
    if len(tokens) < 2:
        raise InputError(f"measuring the loss takes a text of at least 2 tokens, got {len(tokens)}")
    done = 0
    for start in range(0, len(tokens) - 1, stride):
        stop = min(start + length, len(tokens) - 1)
        window = tokens[start : stop + 1].astype(np.int64)[None]
        targets = window[:, 1:].copy()
        targets[:, : done - start] = IGNORE
        yield window[:, :-1], targets
        done = stop
        if stop == len(tokens) - 1:
            return


def read_questions(path: str | Path, encoding: str = "utf-8", *, skip_bad: bool = False) -> Examples[Question]:
    """Return the questions of a JSON Lines file: {"prompt" (or "context"), "choices", "answer"}, the answer's number or text.

    Raises InputError with the line of what is wrong, which `skip_bad` leaves out.
    """
    return collect(json_rows(path, encoding), _question, unit="questions", skip_bad=skip_bad)


def holds_questions(path: str | Path, encoding: str = "utf-8") -> bool:
    """Tell whether the first row of a JSON Lines file is a question with choices."""
    row = next((row for _, row in json_rows(path, encoding)), None)
    return isinstance(row, dict) and "choices" in row


def choice_scores(model: CausalModel, tokenizer: Tokenizer, questions: Sequence[Question], length: int) -> ChoiceScores:
    """Return how often the right answer is the likeliest after the prompt (Brown et al. 2020, arXiv:2005.14165, §2.4).

    Of a prompt that does not fit before its answer the end is seen, which is counted on stderr.
    """
    rows = [row_of(tokenizer, question, choice) for question in questions for choice in question.choices]
    say_share(
        sum(len(ids) > length + 1 for ids, _ in rows),
        len(rows),
        "answers",
        f"seen after the last {length} tokens alone",
    )
    found = np.array(list(_likelihoods(model, [(ids[-length - 1 :], min(size, length)) for ids, size in rows])))
    right = np.zeros(2)
    for question in questions:
        own, found = found[: len(question.choices)], found[len(question.choices) :]
        right += own.argmax(axis=0) == question.answer
    by_sum, by_mean = (right / max(1, len(questions))).tolist()
    return {"accuracy": by_sum, "normalised_accuracy": by_mean, "questions": len(questions)}


def _likelihoods(model: CausalModel, rows: Sequence[tuple[np.ndarray, int]]) -> list[tuple[float, float]]:
    """Return the log-probability of the last so many ids of each row, and its mean over them."""
    lengths, found = [len(ids) for ids, _ in rows], [(0.0, 0.0)] * len(rows)
    for numbers in LengthBatches(lengths, batch_tokens=max(EVALUATION_TOKENS, *lengths)):
        chosen = [rows[number] for number in numbers]
        table = pad([ids for ids, _ in chosen], 0)
        with inference():
            log_probs = ops.log_softmax(model(table[:, :-1])).data
        for number, (ids, size), own in zip(numbers, chosen, log_probs, strict=True):
            end = len(ids) - 1
            each = own[np.arange(end - size, end), ids[-size:]]
            found[number] = float(each.sum()), float(each.mean())
    return found


def row_of(tokenizer: Any, question: Question, choice: str) -> tuple[np.ndarray, int]:
    """Return the ids of a prompt with an answer, and how many are the answer's; a token comes before it in any case."""
    answer = encode_after(tokenizer, question.prompt, choice).astype(np.int64)
    prompt = np.concatenate([begin_ids(tokenizer), encode_text(tokenizer, question.prompt)])
    if not len(prompt):
        prompt = np.array([_usual_beginning(tokenizer)])
    return np.concatenate([prompt, answer]), len(answer)


def _usual_beginning(tokenizer: Any) -> int:
    names = (getattr(tokenizer, name, None) for name in ("bos_id", "eos_id"))
    return next((number for number in names if number is not None), 0)


def _question(where: str, row: dict[str, Any]) -> Question:
    prompt = json_field(row, "context" if "prompt" not in row and "context" in row else "prompt", where)
    if prompt != "":
        clean_text(prompt, "prompt", where)
    choices = json_field(row, "choices", where)
    if not isinstance(choices, list) or len(choices) < 2:
        got = f"a list of {len(choices)}" if isinstance(choices, list) else json_kind(choices)
        raise InputError(f"{where}: choices must be a list of at least 2 texts, got {got}")
    for choice in choices:
        clean_text(choice, "choice", where)
    answer = json_field(row, "answer", where)
    number = choices.index(answer) if answer in choices else answer
    if type(number) is not int or not 0 <= number < len(choices):
        raise InputError(f"{where}: the answer must be one of the choices, or its number from 0, got {answer!r:.60}")
    return Question(prompt, tuple(choices), number)
