"""Generation of token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numformer import random
from numformer.autograd import no_grad
from numformer.errors import InputError
from numformer.generation.decoder import CachedDecoder, Decoder, PlainDecoder
from numformer.generation.sampling import SamplingConfig, sample

OnToken = Callable[[int, int], bool | None]


def generate(
    model: Any,
    prompts: Sequence[Sequence[int] | np.ndarray] | np.ndarray,
    max_new_tokens: int = 100,
    *,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
    stop_ids: Sequence[int] = (),
    vocab_size: int | None = None,
    use_cache: bool = True,
    on_token: OnToken | None = None,
    **settings: Any,
) -> list[np.ndarray]:
    """Continue prompts of any lengths, prompts [B T] or B lists of ids -> B arrays of prompt and new ids.

    `settings` are the fields of SamplingConfig (temperature, top_k, top_p, min_p, repetition_penalty). A row ends after
    `max_new_tokens`, after a token of `stop_ids`, or when `on_token(row, id)` returns True. Only ids below `vocab_size`
    are chosen, where it is given. Row r draws from the generator of (seed, r), so its result does not depend on the other
    rows, nor on the cache. The model runs in evaluation mode.
    Past the context length the oldest half-context is dropped (see `numformer.generation.decoder`).
    Raises InputError for an empty prompt and for settings out of range.
    """
    sampling = sampling or SamplingConfig(**settings)
    rows = [_as_ids(prompt) for prompt in prompts]
    if not rows or not all(rows):
        raise InputError("generation needs at least one prompt, and at least one token in every prompt")
    for name, value in (("max_new_tokens", max_new_tokens), ("seed", seed)):
        if value < 0:
            raise InputError(f"{name} must be at least 0, got {value}")
    generators = [random.generator(seed, row) for row in range(len(rows))]
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            decoder: Decoder = (CachedDecoder if use_cache else PlainDecoder)(model, rows)
            lengths = _extend(decoder, max_new_tokens, sampling, generators, stop_ids, vocab_size, on_token)
    finally:
        model.train(was_training)
    return [np.array(ids[:length]) for ids, length in zip(decoder.sequences, lengths, strict=True)]


def _as_ids(prompt: Sequence[int] | np.ndarray) -> list[int]:
    ids = np.asarray(prompt)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise InputError(f"a prompt must be a list of token ids, got {ids.dtype} of shape {ids.shape}")
    return [int(token) for token in ids]


def _extend(
    decoder: Decoder,
    max_new_tokens: int,
    sampling: SamplingConfig,
    generators: list[np.random.Generator],
    stop_ids: Sequence[int],
    vocab_size: int | None,
    on_token: OnToken | None,
) -> list[int]:
    """Append tokens until every row has ended, and return the rows' lengths without what came after their end."""
    lengths = [len(ids) for ids in decoder.sequences]
    going = set(range(len(lengths)))
    for _ in range(max_new_tokens):
        ids = sample(decoder.next_logits()[:, :vocab_size], sampling, generators, decoder.sequences)
        for row in sorted(going):
            token = int(ids[row])
            lengths[row] += 1
            if (on_token is not None and on_token(row, token)) or token in stop_ids:
                going.discard(row)
        decoder.append(ids)
        if not going:
            break
    return lengths
