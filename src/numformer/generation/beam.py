"""Beam search: the most probable continuations, kept in a beam of a fixed width, as transformers searches.

Each step extends every hypothesis of the beam by every token. Of the best `num_beams` continuations those that end are
finished; the best `num_beams` that do not end are the next beam. The score of a finished hypothesis of log-probability s and
n new tokens, the end token included, is s / n^length_penalty (Wu et al. 2016, arXiv:1609.08144, with its simpler normaliser);
the best `num_beams` of them are kept.

The search for a row ends when so many are kept and `early_stopping` is true, or nothing in the beam is thought to come before
the last of them. What the best of the beam can still reach is s / m^length_penalty: by default m is its length now, which for
a positive penalty may end a search before a long hypothesis would have won; "never" takes the longest length for m, and then
ending early does not change a result, unless a rule makes tokens more probable than the model has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from numformer import ops
from numformer._names import takes_synonyms
from numformer.errors import InputError
from numformer.generation.logits import NOTHING_LEFT, Processor, process, processors_of
from numformer.generation.protocols import Writer
from numformer.generation.rules import Rules, RuleSettings
from numformer.generation.session import Prompt, Session

MAX_PENALTY = 10.0  # a power at which no length overflows


class BeamSettings(RuleSettings, total=False):
    """The fields of BeamConfig, as keywords."""

    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    num_return: int


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class BeamConfig(Rules):
    """How to search."""

    num_beams: int = 4
    """Width of the beam; 1 takes the most probable token at every step."""
    length_penalty: float = 1.0
    """Power of the length that a log-probability is divided by, from -10 to 10: larger values favour longer results."""
    early_stopping: bool | Literal["never"] = False
    """True ends a search with the first num_beams results, False when better ones are unlikely, never when there are none."""
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
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise InputError(f'early_stopping must be True, False or "never", got {self.early_stopping!r}')
        super().__post_init__()


class Hypothesis(NamedTuple):
    """New tokens without the end token, their score, and the sum of their log-probabilities after all rules."""

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
    """The search for one prompt: its beams, best first, what is finished, best first, and the rules for its tokens."""

    prompt: list[int]
    beams: list[_Beam]
    max_new_tokens: int
    processors: list[Processor]
    finished: list[Hypothesis]


def beam_search(
    model: Writer,
    prompts: Sequence[Prompt],
    max_new_tokens: int | Sequence[int],
    config: BeamConfig,
    *,
    sources: Sequence[Prompt] | None = None,
    eos_id: int | Iterable[int] | None = None,
    vocab_size: int | None = None,
    processors: Sequence[Processor] = (),
    ends: Callable[[list[int]], bool] | None = None,
    backend: str = "numpy",
) -> list[list[Hypothesis]]:
    """Continue every prompt and return its best continuations, best first.

    `sources` are what an encoder-decoder writes from, one per prompt. `max_new_tokens` is one number or one per prompt; a
    hypothesis that reaches it counts as it is, and so does one of whose new ids `ends` says that they end it. `eos_id` is
    the end token, or several. Only ids below `vocab_size` are chosen, where it is given. `processors` are functions (ids,
    log-probabilities) -> log-probabilities that follow the rules of the config; `backend` is as in Session. What a prompt
    returns does not depend on the others. Past the context length the oldest half-context is dropped.
    Raises InputError for prompts and sources that the model cannot read, when its logits are not numbers, and when the
    rules leave no token to choose.
    """
    if not len(prompts):
        return []
    num_slots = len(prompts) * config.num_beams
    session = Session(model, num_slots, vocab_size=vocab_size, sliding=True, backend=backend)
    given = [None] * len(prompts) if sources is None else sources
    slots = [session.admit(prompt, source=source) for prompt, source in zip(prompts, given, strict=True)]
    limits = max_new_tokens if isinstance(max_new_tokens, Sequence) else [max_new_tokens] * len(slots)
    return search(session, slots, limits, config, eos_id=eos_id, processors=processors, ends=ends)


def search(
    session: Session,
    slots: Sequence[int],
    limits: Sequence[int],
    config: BeamConfig,
    *,
    eos_id: int | Iterable[int] | None,
    processors: Sequence[Processor] = (),
    ends: Callable[[list[int]], bool] | None = None,
) -> list[list[Hypothesis]]:
    """Continue the sequences in these slots of a session, each by at most its limit, and return each one's best.

    The session needs `num_beams` slots for each; all that the search used are free afterwards.
    """
    stops = {token for token in (eos_id if isinstance(eos_id, Iterable) else [eos_id]) if token is not None}

    def is_end(ids: list[int]) -> bool:
        return ids[-1] in stops or (ends is not None and ends(ids))

    rows = []
    for slot, limit in zip(slots, limits, strict=True):
        prompt = session.tokens(slot)
        rules = processors_of(config, len(prompt), stops, session.num_tokens, processors)
        rows.append(_Row(prompt, [_Beam(slot, [], 0.0)], limit, rules, []))
    for row in rows:
        if row.max_new_tokens < 1:
            _go_on(session, row, [])
    while active := [row for row in rows if row.beams]:
        logits = session.logits()
        log_probabilities = ops.log_softmax(np.stack([logits[beam.slot] for row in active for beam in row.beams]))
        first = 0
        for row in active:
            width = len(row.beams)
            going = _extend(row, log_probabilities[first : first + width], config, 1 + len(stops), is_end)
            _go_on(session, row, going)
            first += width
    return [
        [Hypothesis(h.ids[:-1] if h.ids[-1] in stops else h.ids, *h[1:]) for h in row.finished[: config.num_return]]
        for row in rows
    ]


def _extend(
    row: _Row,
    log_probabilities: np.ndarray,
    config: BeamConfig,
    spare: int,
    is_end: Callable[[list[int]], bool],
) -> list[_Beam]:
    """Take one step for a row, given the log-probabilities [beams V] of its next tokens; return the beams that go on.

    `spare` times the width of the beam are looked at, enough for a whole beam besides those that take an end token.
    """
    pairs = zip(row.beams, log_probabilities.astype(np.float64), strict=True)
    totals = np.stack([beam.total + process(row.processors, row.prompt + beam.ids, each) for beam, each in pairs])
    if np.isnan(totals).any():
        raise InputError(
            "the logits are not numbers, those of the model or of a processor, so there is nothing to search"
        )
    length, going = len(row.beams[0].ids) + 1, list[_Beam]()
    for rank, (number, token, total) in enumerate(_best(totals, max(2, spare) * config.num_beams)):
        beam = row.beams[number]
        ids = [*beam.ids, token]
        if length == row.max_new_tokens or is_end(ids):
            if rank < config.num_beams:
                row.finished.append(Hypothesis(ids, total / length**config.length_penalty, total))
        elif len(going) < config.num_beams:
            going.append(_Beam(beam.slot, ids, total))
    if not row.finished and not going:
        raise InputError(NOTHING_LEFT)
    row.finished = sorted(row.finished, key=lambda h: -h.score)[: config.num_beams]
    return going if going and not _is_decided(row, going[0].total, length, config) else []


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


def _is_decided(row: _Row, best: float, length: int, config: BeamConfig) -> bool:
    """Tell whether the beam, whose best total is given, is thought to hold nothing that comes before the last result."""
    if len(row.finished) < config.num_beams:
        return False
    if config.early_stopping is True:
        return True
    looks_ahead = config.early_stopping == "never" and config.length_penalty > 0
    reached = row.max_new_tokens if looks_ahead else length
    return best / reached**config.length_penalty <= row.finished[-1].score
