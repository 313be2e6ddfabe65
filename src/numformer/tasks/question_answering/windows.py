"""Questions with contexts longer than a model sees, cut into windows that overlap (Devlin et al. 2019, §4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from numformer.data.squad import Question
from numformer.errors import InputError
from numformer.tasks.shared.encoding import cut, encode_spans, special_row
from numformer.tokenizers import Tokenizer


@dataclass(frozen=True)
class Window:
    """A question and a part of its context: tokens [T] (or [T C]), where the context's tokens begin in it, their characters.

    `target` is the first and the last token of the answer, both 0 (the begin token, or the question's first) without one.
    """

    question: int
    tokens: np.ndarray
    start: int
    spans: np.ndarray
    target: tuple[int, int]

    @property
    def segments(self) -> np.ndarray:
        """The segment of each token [T]: 0 for the question, 1 for the context and what follows."""
        return (np.arange(len(self.tokens)) >= self.start).astype(np.int64)


class ReadQuestion(NamedTuple):
    """The windows of a question, and how it went into them.

    `answer` is the first and the last token of the answer in the context, None where there is none or no token has a part
    of it; `is_held` tells whether a window holds the whole answer, `is_widened` whether it begins or ends inside a token,
    and `is_cut` whether the question was longer than half the context length.
    """

    windows: list[Window]
    answer: tuple[int, int] | None
    is_held: bool
    is_widened: bool
    is_cut: bool


def make_windows(
    tokenizer: Tokenizer, number: int, question: Question, max_seq_len: int, stride: int, separators: int = 1
) -> ReadQuestion:
    """Return a question with its windows, which begin `stride` context tokens apart.

    Between the question and the context stand so many end tokens, where the tokenizer has one.
    A question longer than half the context length is cut. Raises InputError for a stride below 1 and a context
    length that has no room for a context.
    """
    if stride < 1:
        raise InputError(f"stride must be at least 1, got {stride}")
    whole = encode_spans(tokenizer, question.question)[0]
    asked = cut(tokenizer, question.question, whole, max_seq_len // 2)
    tokens, spans = encode_spans(tokenizer, question.context)
    begin, end = special_row(tokenizer, "bos_id", tokens), special_row(tokenizer, "eos_id", tokens)
    head = np.concatenate([begin, asked.reshape(len(asked), *tokens.shape[1:]), *[end] * separators])
    room = max_seq_len - len(head) - len(end)
    if room < 1:
        raise InputError(f"max_seq_len={max_seq_len} leaves no room for a context beside a question")
    answer = _answer_tokens(question, spans)
    windows, is_held = [], False
    for start in range(0, max(1, len(tokens)), min(stride, room)):
        part = slice(start, start + room)
        target = (0, 0)
        if answer is not None and start <= answer[0] and answer[1] < start + room:
            is_held = True
            target = (answer[0] - start + len(head), answer[1] - start + len(head))
        windows.append(Window(number, np.concatenate([head, tokens[part], end]), len(head), spans[part], target))
        if start + room >= len(tokens):
            break
    is_widened = answer is not None and _is_inside(question, *spans[answer[0]], *spans[answer[1]])
    return ReadQuestion(windows, answer, is_held, is_widened, len(asked) < len(whole))


def _answer_tokens(question: Question, spans: np.ndarray) -> tuple[int, int] | None:
    """Return the first and the last token of the context that share a character with the first answer."""
    if question.impossible or not question.answers:
        return None
    text, start = question.answers[0]
    inside = np.flatnonzero((spans[:, 0] < start + len(text)) & (spans[:, 1] > start))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def _is_inside(question: Question, first_start: int, first_end: int, last_start: int, last_end: int) -> bool:
    """Tell whether the first answer begins after its first token does, or ends before its last one."""
    text, start = question.answers[0]
    begin, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
    return bool(first_start < begin < first_end or last_start < end < last_end)


def best_span(scores: np.ndarray, start: int, length: int, max_answer_len: int) -> tuple[float, int, int]:
    """Return the best valid span of a window, its score above that of no answer, and its first and last context token.

    scores [2 T] of starts and ends; valid is a span of the `length` context tokens from position `start` on, that does
    not end before it begins and has at most `max_answer_len` tokens.
    """
    starts, ends = scores[:, start : start + length].astype(np.float64)
    number = np.arange(length)
    ahead = number[None, :] - number[:, None]
    pairs = np.where((ahead >= 0) & (ahead < max_answer_len), starts[:, None] + ends[None, :], -np.inf)
    first, last = divmod(int(pairs.argmax()), length)
    return float(pairs[first, last] - scores[:, 0].sum()), first, last
