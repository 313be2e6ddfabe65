"""Words as tokens: the words of a text and where they stand, the first token of each, and what a model says of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from numformer import ops
from numformer.errors import InputError
from numformer.models import TokenClassifier
from numformer.tasks.shared.encoding import encode_spans, pad_id, padded
from numformer.tasks.shared.prediction import run_batches, values
from numformer.tokenizers import Tokenizer
from numformer.tokenizers.word_patterns import word_spans
from numformer.training.workers import Workers

Encoded = tuple[np.ndarray, np.ndarray]  # the tokens of a sentence, and the number of each word's first token


class Words(NamedTuple):
    """The words of a text, and the first character of each and the one after its last."""

    text: str
    words: list[str]
    spans: list[tuple[int, int]]


def words_of(tokenizer: Tokenizer, sentence: str | Sequence[str]) -> Words:
    """Return the words of a text as the tokenizer has them, else those of `word_spans`; words as they are, joined by a space.

    Raises InputError for what is neither.
    """
    if isinstance(sentence, str):
        if hasattr(tokenizer, "words"):
            spans = [(start, end) for _, start, end in tokenizer.words(sentence)]
        else:
            spans = word_spans(sentence)
        return Words(sentence, [sentence[start:end] for start, end in spans], spans)
    if not isinstance(sentence, (list, tuple)) or not all(isinstance(word, str) for word in sentence):
        raise InputError(f"a sentence is a text or a list of words, got {repr(sentence)[:60]}")
    words, ends = list(sentence), np.cumsum([len(word) + 1 for word in sentence], dtype=int).tolist()
    return Words(
        " ".join(words), words, [(end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True)]
    )


def tokens_of(tokenizer: Tokenizer, words: Sequence[str]) -> Encoded:
    """Return the tokens of a sentence, and the number of each word's first token (-1 for a word that has none)."""
    if hasattr(tokenizer, "features"):
        return tokenizer.features(words), np.arange(len(words))
    tokens, spans = encode_spans(tokenizer, " ".join(words))
    ends = np.cumsum([len(word) + 1 for word in words])
    first = np.full(len(words), -1)
    word_of = np.searchsorted(ends, spans[:, 0], side="right")
    for number in range(len(tokens) - 1, -1, -1):
        is_text = spans[number, 1] > spans[number, 0] and spans[number, 0] < ends[word_of[number]] - 1
        if is_text:
            first[word_of[number]] = number
    return tokens, first


def pieces_of(tokenizer: Tokenizer, row: np.ndarray, longest: int, around: int | None = None) -> list[np.ndarray]:
    """Return the tokens [T] of a sentence, or what belongs to them, in pieces that fit the context.

    Each stands between the tokens that a tokenizer.json puts around a text, or `around` in their place. Raises InputError
    where they leave no room.
    """
    before, after = frame_of_sentences(tokenizer)
    room = longest - len(before) - len(after)
    if room < 1:
        raise InputError(f"max_seq_len={longest} leaves no room for a word")
    first, last = (
        np.array(ids if around is None else [around] * len(ids), row.dtype).reshape(-1, *row.shape[1:])
        for ids in (before, after)
    )
    return [np.concatenate([first, row[start : start + room], last]) for start in range(0, len(row), room)]


def frame_of_sentences(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the tokens around a sentence: those of the tokenizer.json of others; one that was made here says none."""
    return getattr(tokenizer, "frame_ids", None) or ([], [])


def word_probabilities(
    model: TokenClassifier,
    tokenizer: Tokenizer,
    encoded: Sequence[Encoded],
    *,
    progress: bool = False,
    workers: Workers | None = None,
) -> list[np.ndarray]:
    """Return the probabilities [words C] of every sentence; one longer than the context is read in pieces."""
    of_sentences = [pieces_of(tokenizer, tokens, model.config.max_seq_len) for tokens, _ in encoded]
    pieces = [piece for each in of_sentences for piece in each]
    before, after = map(len, frame_of_sentences(tokenizer))

    def work(numbers: list[int]) -> Sequence[np.ndarray]:
        tokens, mask = padded([pieces[number] for number in numbers], pad_id(tokenizer))
        with np.errstate(over="ignore", invalid="ignore"):  # the loss tells of it
            rows = ops.softmax(values(model(tokens, mask)).astype(np.float64))
        return [row[before : len(pieces[number]) - after] for row, number in zip(rows, numbers, strict=True)]

    rest = iter(run_batches(pieces, work, progress, workers))
    unseen = np.full((1, len(model.labels)), 1.0 / len(model.labels))  # of a word without a token, whose number is -1
    results = []
    for (_, first), own in zip(encoded, of_sentences, strict=True):
        rows = [next(rest) for _ in own]
        results.append(np.concatenate([*rows, unseen])[first])
    return results
