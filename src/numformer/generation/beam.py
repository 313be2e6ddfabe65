"""Beam search: the most probable continuations, kept in a beam of a fixed width.

Each step extends every hypothesis of the beam by every token and keeps the best `num_beams`. One that takes the end token is
finished and leaves the beam, which then is narrower. The score of a hypothesis of log-probability s and n new tokens, the
end token included, is s / n^length_penalty (Wu et al. 2016, arXiv:1609.08144, with its simpler normaliser).

The search for a row ends when what is still in the beam cannot come before the results: s only falls as n grows, so
the best that a hypothesis of length n can still reach is s / m^length_penalty, m being the longest length for a positive
penalty and n + 1 for a negative one. Ending early therefore never changes a result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from numformer import ops
from numformer.errors import InputError
from numformer.generation.decoder import Decoder


@dataclass(frozen=True, kw_only=True)
class BeamConfig:
    """How to search."""

    num_beams: int = 4
    """Width of the beam; 1 takes the most probable token at every step."""
    length_penalty: float = 1.0
    """Power of the length that a log-probability is divided by: 0 favours short results, larger values longer ones."""
    num_return: int = 1
    """Number of results per row, best first."""

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return"):
            if not isinstance(getattr(self, name), int):
                raise InputError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        if self.num_beams < 1:
            raise InputError(f"num_beams must be at least 1, got {self.num_beams}")
        if not 1 <= self.num_return <= self.num_beams:
            raise InputError(f"num_return must be from 1 to num_beams={self.num_beams}, got {self.num_return}")
        if not np.isfinite(self.length_penalty):
            raise InputError(f"length_penalty must be a number, got {self.length_penalty}")


class Hypothesis(NamedTuple):
    """New tokens without the end token, their score, and the sum of their log-probabilities."""

    ids: list[int]
    score: float
    log_probability: float


@dataclass
class _Row:
    """The search for one row: the number of tokens it began with, the beam's log-probabilities, what is finished."""

    number: int
    start: int
    max_new_tokens: int
    running: list[float] = field(default_factory=lambda: [0.0])
    finished: list[Hypothesis] = field(default_factory=list)


def beam_search(
    decoder: Decoder,
    max_new_tokens: int | list[int],
    config: BeamConfig,
    *,
    eos_id: int | None,
    vocab_size: int | None = None,
) -> list[list[Hypothesis]]:
    """Continue every sequence of a decoder and return its best continuations, best first.

    `max_new_tokens` is one number or one per row; a hypothesis that reaches it counts as it is. Only ids below
    `vocab_size` are chosen, where it is given. What a row returns does not depend on the other rows.
    Raises InputError when the logits are not numbers.
    """
    count = len(decoder.sequences)
    limits = [max_new_tokens] * count if isinstance(max_new_tokens, int) else max_new_tokens
    rows = [_Row(i, len(ids), limits[i]) for i, ids in enumerate(decoder.sequences)]
    active = [row for row in rows if row.max_new_tokens > 0]
    if len(active) < count:
        decoder.select(np.array([row.number for row in active], np.intp))
    while active:
        log_probabilities = ops.log_softmax(decoder.next_logits()[:, :vocab_size])
        if np.isnan(log_probabilities).any():
            raise InputError("the model's logits are not numbers, so there is nothing to search")
        kept, tokens, first = [], [], 0
        for row in active:
            width = len(row.running)
            for beam, token in _extend(row, log_probabilities[first : first + width], decoder, first, config, eos_id):
                kept.append(first + beam)
                tokens.append(token)
            first += width
        active = [row for row in active if row.running]
        if active:
            decoder.select(np.array(kept))
            decoder.append(np.array(tokens))
    return [sorted(row.finished, key=lambda h: -h.score)[: config.num_return] for row in rows]


def _extend(
    row: _Row, log_probabilities: np.ndarray, decoder: Decoder, first: int, config: BeamConfig, eos_id: int | None
) -> list[tuple[int, int]]:
    """Take one step for a row [beams V] and return which beams go on with which tokens."""
    totals = log_probabilities.astype(np.float64) + np.array(row.running)[:, None]
    width = config.num_beams - len(row.finished)
    going, running = [], []
    length = len(decoder.sequences[first]) - row.start + 1
    for beam, token, total in _best(totals, width):
        ends = token == eos_id
        if ends or length == row.max_new_tokens:
            ids = decoder.sequences[first + beam][row.start :] + ([] if ends else [token])
            row.finished.append(Hypothesis(ids, total / length**config.length_penalty, total))
        else:
            going.append((beam, token))
            running.append(total)
    row.running = running
    if running and _is_decided(row, length, config):
        row.running, going = [], []
    return going


def _best(totals: np.ndarray, count: int) -> list[tuple[int, int, float]]:
    """Return the `count` largest of [beams V], largest first, as (beam, token, total); those of no probability never."""
    flat = totals.ravel()
    count = min(count, flat.size)
    chosen = np.argpartition(-flat, count - 1)[:count]
    chosen = chosen[np.lexsort((chosen, -flat[chosen]))]
    pairs = ((int(at), float(flat[at])) for at in chosen)
    return [(*divmod(at, totals.shape[1]), total) for at, total in pairs if total > -np.inf]


def _is_decided(row: _Row, length: int, config: BeamConfig) -> bool:
    """Tell whether no hypothesis in the beam can still come before the last of the results."""
    if len(row.finished) < config.num_return:
        return False
    results = sorted((h.score for h in row.finished), reverse=True)
    longest = row.max_new_tokens if config.length_penalty >= 0 else length + 1
    return results[config.num_return - 1] >= max(row.running) / longest**config.length_penalty
