"""What the logits of the next token go through before one is chosen: one small function for each rule.

A processor is a function (ids, logits) -> logits of one sequence: `ids` [T] are its tokens so far, the prompt's among them,
and `logits` [V] an array that it may write to. They come in this order, which is that of transformers:

    logit bias, repetition penalty, frequency and presence penalties, repeated n-grams, bad words, the shortest length, and
    then functions of the caller's own; after them temperature, top-k, top-p and min-p where tokens are drawn.

A beam search gives them log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from numformer.errors import InputError
from numformer.generation.rules import Rules

Processor: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the ids [T] of a sequence and the logits [V] of its next token to other logits [V]."""

NOTHING_LEFT = "the rules of generation leave no token to choose: allow more tokens, or give an end token"


def processors_of(
    rules: Rules, num_prompt: int, end_ids: Collection[int], num_tokens: int, own: Sequence[Processor] = ()
) -> list[Processor]:
    """Return what settings ask for, in order, and the caller's own functions, for a prompt of so many tokens.

    Raises InputError for a bad word that is a text, and for ids outside the vocabulary of `num_tokens`.
    """
    words = _words_of(rules, end_ids)
    _check_ids([*rules.logit_bias, *(token for word in words for token in word)], num_tokens)
    frequency, presence = rules.frequency_penalty, rules.presence_penalty
    asked: list[tuple[bool, Processor]] = [
        (bool(rules.logit_bias), partial(add_bias, bias=rules.logit_bias)),
        (rules.repetition_penalty != 1, partial(penalise_repetition, penalty=rules.repetition_penalty)),
        (bool(frequency or presence), partial(penalise_counts, first=num_prompt, each=frequency, once=presence)),
        (rules.no_repeat_ngram_size > 0, partial(forbid_repeated_ngrams, size=rules.no_repeat_ngram_size)),
        (bool(words), partial(forbid_words, words=words)),
        (
            bool(rules.min_new_tokens and end_ids),
            partial(forbid_early_end, shortest=num_prompt + rules.min_new_tokens, end_ids=np.array(sorted(end_ids))),
        ),
    ]
    if not all(map(callable, own)):
        raise InputError(f"processors must be functions (ids, logits) -> logits, got {list(own)!r}")
    return [*(processor for is_on, processor in asked if is_on), *own]


def process(processors: Sequence[Processor], ids: Sequence[int], logits: np.ndarray) -> np.ndarray:
    """Return logits [V] after all processors; those given stay as they are.

    Raises InputError when a function of the caller's returns an array of another shape.
    """
    if not processors:
        return logits
    seen, processed = np.array(ids, np.int64), logits.copy()
    for processor in processors:
        processed = np.asarray(processor(seen, processed))
        if processed.shape != logits.shape:
            raise InputError(f"a logits processor must return an array of shape {logits.shape}, got {processed.shape}")
    return processed.astype(logits.dtype, copy=False)


def add_bias(ids: np.ndarray, logits: np.ndarray, *, bias: Mapping[int, float]) -> np.ndarray:
    """Add a number to the logit of each token that has one."""
    for token, value in bias.items():
        if token < logits.size:
            logits[token] += value
    return logits


def penalise_repetition(ids: np.ndarray, logits: np.ndarray, *, penalty: float) -> np.ndarray:
    """Divide the positive logits of seen tokens by the penalty and multiply the negative ones (Keskar et al. 2019).

    A token seen many times is penalised once.
    """
    seen = ids[ids < logits.size]  # a prompt may hold ids that are not to be chosen
    once = logits[seen]
    logits[seen] = np.where(once > 0, once / penalty, once * penalty)
    return logits


def penalise_counts(ids: np.ndarray, logits: np.ndarray, *, first: int, each: float, once: float) -> np.ndarray:
    """Take `each` from a token's logit for every time it was written from position `first` on, and `once` besides."""
    written = ids[first:]
    tokens, counts = np.unique(written[written < logits.size], return_counts=True)
    logits[tokens] -= (each * counts + once).astype(logits.dtype)
    return logits


def forbid_repeated_ngrams(ids: np.ndarray, logits: np.ndarray, *, size: int) -> np.ndarray:
    """Forbid the tokens that would end an n-gram of this size a second time (Paulus et al. 2017, arXiv:1705.04304)."""
    if len(ids) < size:
        return logits
    ngrams = np.lib.stride_tricks.sliding_window_view(ids, size)
    begun = ids[len(ids) - size + 1 :]  # the tokens that the next one would complete to an n-gram
    repeated = ngrams[(ngrams[:, :-1] == begun).all(axis=1), -1]
    logits[repeated[repeated < logits.size]] = -np.inf
    return logits


def forbid_words(ids: np.ndarray, logits: np.ndarray, *, words: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Forbid the last token of every word [ids] whose other tokens are the last ones so far."""
    for *begun, last in words:
        if last < logits.size and len(begun) <= len(ids) and ids[len(ids) - len(begun) :].tolist() == begun:
            logits[last] = -np.inf
    return logits


def forbid_early_end(ids: np.ndarray, logits: np.ndarray, *, shortest: int, end_ids: np.ndarray) -> np.ndarray:
    """Forbid the end tokens while a sequence has fewer tokens than the shortest that is asked for."""
    if len(ids) < shortest:
        logits[end_ids[end_ids < logits.size]] = -np.inf
    return logits


def _words_of(rules: Rules, end_ids: Collection[int]) -> list[tuple[int, ...]]:
    """Return the bad words as ids, without the end tokens, which transformers never forbids so either."""
    words: list[tuple[int, ...]] = []
    for word in rules.bad_words:
        if isinstance(word, str):
            raise InputError(f"the bad word {word!r} is a text: give its token ids where there is no tokenizer")
        if len(word) > 1 or word[0] not in end_ids:
            words.append(word)
    return words


def _check_ids(ids: Sequence[int], num_tokens: int) -> None:
    if wrong := [token for token in ids if token >= num_tokens]:
        raise InputError(
            f"logit_bias and bad_words name the token {wrong[0]}, but the vocabulary has {num_tokens} tokens"
        )
