"""Beam search: the most probable continuations, kept in a beam of a fixed width.

Each step extends every hypothesis of the beam by every token and keeps the best `num_beams`. One that takes the end token is
finished and leaves the beam, which then is narrower. The score of a hypothesis of log-probability s and n new tokens, the
end token included, is s / n^length_penalty (Wu et al. 2016, arXiv:1609.08144, with its simpler normaliser).

The search for a row ends when what is still in the beam cannot come before the results: s only falls as n grows, so
the best that a hypothesis of length n can still reach is s / m^length_penalty, m being the longest length for a positive
penalty and n + 1 for a negative one. Ending early therefore never changes a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from numformer import ops
from numformer._names import takes_synonyms
from numformer.errors import InputError
from numformer.generation.protocols import Writer
from numformer.generation.session import Prompt, Session

MAX_PENALTY = 10.0  # a power at which no length overflows


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class BeamConfig:
    """How to search."""

    num_beams: int = 4
    """Width of the beam; 1 takes the most probable token at every step."""
    length_penalty: float = 1.0
    """Power of the length that a log-probability is divided by, from -10 to 10: larger values favour longer results."""
    num_return: int = 1
    """Number of results per row, best first."""

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return"):
            if not isinstance(getattr(self, name), (int, np.integer)):
                raise InputError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        if self.num_beams < 1:
            raise InputError(f"num_beams must be at least 1, got {self.num_beams}")
        if not 1 <= self.num_return <= self.num_beams:
            raise InputError(f"num_return must be from 1 to num_beams={self.num_beams}, got {self.num_return}")
        penalty = self.length_penalty
        if not (isinstance(penalty, (int, float, np.number)) and abs(penalty) <= MAX_PENALTY):
            raise InputError(
                f"length_penalty must be a number from {-MAX_PENALTY:g} to {MAX_PENALTY:g}, got {penalty!r}"
            )


class Hypothesis(NamedTuple):
    """New tokens without the end token, their score, and the sum of their log-probabilities."""

    ids: list[int]
    score: float
    log_probability: float


class _Beam(NamedTuple):
    """A hypothesis that goes on: the slot that holds it, its new tokens, the sum of their log-probabilities."""

    slot: int
    ids: list[int]
    total: float


@dataclass
class _Row:
    """The search for one prompt: its beams, best first, and what is finished."""

    beams: list[_Beam]
    max_new_tokens: int
    finished: list[Hypothesis]


def beam_search(
    model: Writer,
    prompts: Sequence[Prompt],
    max_new_tokens: int | Sequence[int],
    config: BeamConfig,
    *,
    sources: Sequence[Prompt] | None = None,
    eos_id: int | None = None,
    vocab_size: int | None = None,
) -> list[list[Hypothesis]]:
    """Continue every prompt and return its best continuations, best first.

    `sources` are what an encoder-decoder writes from, one per prompt. `max_new_tokens` is one number or one per prompt; a
    hypothesis that reaches it counts as it is. Only ids below `vocab_size` are chosen, where it is given. What a prompt
    returns does not depend on the others. Past the context length the oldest half-context is dropped.
    Raises InputError for prompts and sources that the model cannot read, and when its logits are not numbers.
    """
    if not len(prompts):
        return []
    session = Session(model, len(prompts) * config.num_beams, vocab_size=vocab_size, sliding=True)
    given = [None] * len(prompts) if sources is None else sources
    slots = [session.admit(prompt, source=source) for prompt, source in zip(prompts, given, strict=True)]
    limits = max_new_tokens if isinstance(max_new_tokens, Sequence) else [max_new_tokens] * len(slots)
    return search(session, slots, limits, config, eos_id=eos_id)


def search(
    session: Session, slots: Sequence[int], limits: Sequence[int], config: BeamConfig, *, eos_id: int | None
) -> list[list[Hypothesis]]:
    """Continue the sequences in these slots of a session, each by at most its limit, and return each one's best.

    The session needs `num_beams` slots for each; all that the search used are free afterwards.
    """
    rows = [_Row([_Beam(slot, [], 0.0)], limit, []) for slot, limit in zip(slots, limits, strict=True)]
    for row in rows:
        if row.max_new_tokens < 1:
            _go_on(session, row, [])
    while active := [row for row in rows if row.beams]:
        logits = session.logits()
        log_probabilities = ops.log_softmax(np.stack([logits[beam.slot] for row in active for beam in row.beams]))
        if np.isnan(log_probabilities).any():
            raise InputError("the model's logits are not numbers, so there is nothing to search")
        first = 0
        for row in active:
            width = len(row.beams)
            _extend(session, row, log_probabilities[first : first + width], config, eos_id)
            first += width
    return [sorted(row.finished, key=lambda h: -h.score)[: config.num_return] for row in rows]


def _extend(session: Session, row: _Row, log_probabilities: np.ndarray, config: BeamConfig, eos_id: int | None) -> None:
    """Take one step for a row, given the log-probabilities [beams V] of its next tokens."""
    totals = log_probabilities.astype(np.float64) + np.array([beam.total for beam in row.beams])[:, None]
    length, going = len(row.beams[0].ids) + 1, []
    for number, token, total in _best(totals, config.num_beams - len(row.finished)):
        beam, ends = row.beams[number], token == eos_id
        ids = beam.ids if ends else [*beam.ids, token]
        if ends or length == row.max_new_tokens:
            row.finished.append(Hypothesis(ids, total / length**config.length_penalty, total))
        else:
            going.append(_Beam(beam.slot, ids, total))
    if going and _is_decided(row, going, length, config):
        going = []
    _go_on(session, row, going)


def _go_on(session: Session, row: _Row, going: list[_Beam]) -> None:
    """Make these the row's beams, each in a slot of its own: the first child of a beam takes its slot, others fork it."""
    taken: set[int] = set()
    for beam in row.beams:
        if all(beam.slot != child.slot for child in going):
            session.retire(beam.slot)
    beams = []
    for child in going:
        slot = session.fork(child.slot) if child.slot in taken else child.slot
        taken.add(child.slot)
        beams.append(child._replace(slot=slot))
    for beam in beams:
        session.append(beam.slot, beam.ids[-1])
    row.beams = beams


def _best(totals: np.ndarray, count: int) -> list[tuple[int, int, float]]:
    """Return the `count` largest of [beams V], largest first, as (beam, token, total); those of no probability never."""
    flat = totals.ravel()
    count = min(count, flat.size)
    chosen = np.argpartition(-flat, count - 1)[:count]
    chosen = chosen[np.lexsort((chosen, -flat[chosen]))]
    pairs = ((int(at), float(flat[at])) for at in chosen)
    return [(*divmod(at, totals.shape[1]), total) for at, total in pairs if total > -np.inf]


def _is_decided(row: _Row, going: list[_Beam], length: int, config: BeamConfig) -> bool:
    """Tell whether no hypothesis that goes on can still come before the last of the results."""
    if len(row.finished) < config.num_return:
        return False
    results = sorted((h.score for h in row.finished), reverse=True)
    longest = row.max_new_tokens if config.length_penalty >= 0 else length + 1
    return results[config.num_return - 1] >= max(beam.total for beam in going) / longest**config.length_penalty
