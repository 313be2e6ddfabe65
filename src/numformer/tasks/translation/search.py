"""Beam search over many sources: batches of similar lengths, shared out among processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from numformer.autograd.array import NUMPY
from numformer.data.batching.batches import LengthBatches
from numformer.errors import InputError
from numformer.generation import BeamConfig, Hypothesis, Processor, beam_search
from numformer.generation.beam import BeamSettings
from numformer.generation.words import with_word_ids
from numformer.models.encoder_decoder import EncoderDecoderModel
from numformer.tasks.shared.encoding import special_id
from numformer.tasks.translation.objective import start_id
from numformer.tokenizers import Tokenizer
from numformer.training.progress import track
from numformer.training.workers import Workers, num_cores

SEARCH_TOKENS = 512  # of source in one batch: its beams give matrix products enough rows


@dataclass(frozen=True, kw_only=True)
class SearchOptions(BeamConfig):
    """How to search for a target."""

    max_new_tokens: int | None = None
    """Most tokens of a target; twice the source's length and ten more when not given."""
    bad_words: tuple[str, ...] = ()
    """Words that are not written."""
    backend: Literal["numpy", "jax"] = "numpy"
    """What runs the model: jax compiles it, which takes seconds at first, and uses an accelerator."""


class SearchSettings(BeamSettings, total=False):
    """What `translate` takes as keywords: those of `predict`."""

    beam: BeamConfig | None
    max_new_tokens: int | None
    processors: Sequence[Processor]
    progress: bool
    backend: Literal["numpy", "jax"]


def search(
    model: EncoderDecoderModel,
    tokenizer: Tokenizer,
    sources: Sequence[np.ndarray],
    beam: BeamConfig,
    max_new_tokens: int | None,
    progress: bool,
    processors: Sequence[Processor] = (),
    backend: str = "numpy",
) -> list[list[Hypothesis]]:
    """Return the best targets of every source; `max_new_tokens` is twice the source's length and ten more by default."""
    if max_new_tokens is not None and not (isinstance(max_new_tokens, int) and max_new_tokens >= 1):
        raise InputError(f"max_new_tokens must be a whole number of at least 1, got {max_new_tokens!r}")
    if not sources:
        return []
    beam = with_word_ids(beam, tokenizer)
    start, eos = start_id(model, tokenizer), special_id(tokenizer, "eos_id")
    lengths = [len(source) for source in sources]
    batches = list(LengthBatches(lengths, batch_tokens=max(SEARCH_TOKENS, *lengths)))
    longest = model.config.max_seq_len - 1

    def translate(step: int, number: int) -> list[list[Hypothesis]]:
        if step * size + number >= len(batches):
            return []
        batch = batches[step * size + number]
        limits = [min(longest, max_new_tokens or 2 * lengths[i] + 10) for i in batch]
        begun, of_batch = [[start]] * len(batch), [sources[i] for i in batch]
        return beam_search(
            model,
            begun,
            limits,
            beam,
            sources=of_batch,
            eos_id=eos,
            vocab_size=tokenizer.vocab_size,
            processors=processors,
            backend=backend,
        )

    results: list[list[Hypothesis]] = [[] for _ in sources]
    # What JAX has begun does not go on in a forked process, and JAX uses all cores by itself.
    with Workers(min(num_cores(), len(batches)) if backend == NUMPY else 1) as workers:
        size = workers.num_workers
        team = workers.team(translate, size)
        steps = range(-(-len(batches) // size))
        for step in track(steps, len(steps), show=progress):
            for number, found in enumerate(team.run(step)):
                for i, hypotheses in zip(batches[step * size + number] if found else [], found, strict=True):
                    results[i] = hypotheses
    return results
