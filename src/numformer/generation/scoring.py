"""How probable a model holds given tokens: the log-probability of each after those before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from numformer import ops
from numformer.autograd import inference
from numformer.errors import InputError
from numformer.generation.protocols import CausalLM
from numformer.generation.window import window_start
from numformer.ops.embedding import check_ids

BLOCK = 64  # positions whose logits are in memory at once


def score(model: CausalLM, prompts: Sequence[Sequence[int] | np.ndarray]) -> list[np.ndarray]:
    """Return for each prompt [T] the log-probabilities [T-1] of its tokens after the first, in the model's own distribution.

    They are those that a session would give while it wrote the prompt: past the context length the oldest half-context is
    dropped. Raises InputError for a prompt without a token and for ids outside the vocabulary.
    """
    return [_score(model, np.asarray(prompt)) for prompt in prompts]


def _score(model: CausalLM, ids: np.ndarray) -> np.ndarray:
    if ids.ndim != 1 or not ids.size:
        raise InputError(f"a prompt must be a list of one token id or more, got an array of shape {ids.shape}")
    check_ids(ids, model.config.vocab_size)
    found = []
    with inference():
        for start, first, stop in _windows(len(ids), model.config.max_seq_len):
            cache = model.make_cache(1)
            for at in range(start, stop - 1, BLOCK):
                end = min(at + BLOCK, stop - 1)
                logits = model(ids[None, at:end], cache=cache).data[0]
                wanted = np.arange(max(at + 1, first), end + 1)  # the tokens that come after these positions
                log_probabilities = ops.log_softmax(logits[wanted - 1 - at])
                found.append(log_probabilities[np.arange(len(wanted)), ids[wanted]])
    return np.concatenate([np.zeros(0, np.float32), *found])


def _windows(length: int, longest: int) -> Iterator[tuple[int, int, int]]:
    """Yield where each window of a text begins, and the first and the end of the tokens that are predicted in it."""
    first = 1
    while first < length:
        start = window_start(first, longest)
        stop = min(length, start + longest + 1)
        yield start, first, stop
        first = stop
