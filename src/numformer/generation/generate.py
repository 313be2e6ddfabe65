"""Generation of token ids: a loop over a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, Unpack, get_type_hints, overload

import numpy as np

from numformer import random
from numformer._names import check_settings
from numformer._notices import amount
from numformer.autograd import Tensor
from numformer.errors import InputError
from numformer.generation.logits import Processor
from numformer.generation.protocols import Writer
from numformer.generation.rows import Ended
from numformer.generation.sampling import SamplingConfig, SamplingSettings
from numformer.generation.session import Alternatives, Prompt, Session

Prompts: TypeAlias = Sequence[Prompt] | np.ndarray | Tensor
"""Token ids to continue: an array or a Tensor [B T], or B lists of any lengths."""

StopIds: TypeAlias = Iterable[int] | Sequence[Iterable[int]]
"""The end tokens of every row, or a list of them for each."""

OnToken: TypeAlias = Callable[[int, int], bool | None]
"""Hears the row and the id of every new token, and returns True to end that row."""


class GenerateSettings(SamplingSettings, total=False):
    """What `generate` takes besides the model, the tokens to start from and the number of new ones."""

    sampling: SamplingConfig | None
    sources: Sequence[Prompt] | None
    seed: int
    stop_ids: StopIds
    vocab_size: int | None
    processors: Sequence[Processor]
    num_alternatives: int
    use_cache: bool
    backend: str
    on_token: OnToken | None


class Generation(Sequence[np.ndarray]):
    """What was generated: row by row the ids of prompt and continuation, by index.

    `log_probabilities[row]` are those of the row's new tokens, under the model's own distribution, and
    `alternatives[row]` for each of these the most probable tokens, where they were asked for. `ended[row]` says why the
    row ended: "length", "stop" or "callback".
    """

    def __init__(
        self,
        rows: list[np.ndarray],
        log_probabilities: list[np.ndarray],
        ended: list[Ended],
        alternatives: list[list[Alternatives]],
    ) -> None:
        self.log_probabilities, self.ended, self.alternatives = log_probabilities, ended, alternatives
        self._rows = rows

    @overload
    def __getitem__(self, row: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, row: slice) -> list[np.ndarray]: ...
    def __getitem__(self, row: int | slice) -> np.ndarray | list[np.ndarray]:
        return self._rows[row]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._rows)

    def numpy(self, pad_id: int = 0) -> np.ndarray:
        """Return the rows as one array [B T], the short ones filled up with `pad_id` on the right."""
        padded = np.full((len(self), max(map(len, self._rows))), pad_id, np.int64)
        for row, ids in enumerate(self._rows):
            padded[row, : len(ids)] = ids
        return padded

    def __repr__(self) -> str:
        return f"Generation({amount(len(self), 'rows')} of {[len(row) for row in self._rows]} tokens, ended by {self.ended})"


def generate(
    model: Writer,
    start_tokens: Prompts,
    max_new_tokens: int = 100,
    *,
    sampling: SamplingConfig | None = None,
    sources: Sequence[Prompt] | None = None,
    seed: int = 0,
    stop_ids: StopIds = (),
    vocab_size: int | None = None,
    processors: Sequence[Processor] = (),
    num_alternatives: int = 0,
    use_cache: bool = True,
    backend: str = "numpy",
    on_token: OnToken | None = None,
    **settings: Unpack[SamplingSettings],
) -> Generation:
    """Continue prompts of any lengths: an array or Tensor [B T], or B lists of ids.

    `settings` are the fields of SamplingConfig (temperature, top_k, repetition_penalty, bad_words, …), given one by one or
    as `sampling`. `sources` are what an encoder-decoder writes from, one per prompt. A row ends after `max_new_tokens`,
    after one of `stop_ids`, the same for all rows or a list for each, or when `on_token(row, id)` returns True. Only ids
    below `vocab_size` are chosen, where it is given. `processors` are functions (ids, logits) -> logits that follow the
    rules of the settings; `num_alternatives` is how many tokens the result tells beside every new one. Row r draws from
    the generator of (seed, r), so its result does not depend on the other rows, nor on the cache, and by rounding alone on
    the `backend`, "numpy" or "jax". The model predicts without dropout, and its mode stays. Past the context length the
    oldest half-context is dropped (see `numformer.generation.window`).
    Raises InputError for an empty prompt, for settings out of range and for unknown ones, and when the rules leave no
    token to choose.
    """
    if sampling is not None and settings:
        raise InputError(f"give sampling or its fields, not both; got sampling and {', '.join(sorted(settings))}")
    check_settings(settings, get_type_hints(SamplingSettings))
    sampling = sampling or SamplingConfig(**settings)
    prompts = list(start_tokens.data if isinstance(start_tokens, Tensor) else start_tokens)
    if not prompts or not all(np.size(prompt) for prompt in prompts):
        raise InputError("generation needs at least one prompt, and at least one token in every prompt")
    for name, value in (("max_new_tokens", max_new_tokens), ("seed", seed)):
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise InputError(f"{name} must be a whole number of at least 0, got {value!r}")
    if sources is not None and len(sources) != len(prompts):
        raise InputError(
            f"generation needs a source for every prompt; got {len(prompts)} prompts, {len(sources)} sources"
        )
    stops = _for_rows(stop_ids, len(prompts))
    session = Session(model, len(prompts), vocab_size=vocab_size, sliding=True, use_cache=use_cache, backend=backend)
    for row, prompt in enumerate(prompts):  # into the slot of its own number
        session.admit(
            prompt,
            sampling,
            source=None if sources is None else sources[row],
            max_new_tokens=max(1, max_new_tokens),
            stop_ids=stops[row],
            seed=random.generator(seed, row),
            processors=processors,
            num_alternatives=num_alternatives,
        )
    return _run(session, max_new_tokens, on_token)


def _for_rows(stop_ids: StopIds, num_rows: int) -> Sequence[Iterable[int]]:
    """Return the end tokens of every row; raises InputError for lists that are not as many as the rows."""
    if not isinstance(stop_ids, Iterable):
        raise InputError(f"stop_ids must be a list of token ids, got {stop_ids!r}")
    listed: list[Any] = list(stop_ids)
    if not any(isinstance(each, Iterable) for each in listed):
        return [listed] * num_rows
    if len(listed) != num_rows or not all(isinstance(each, Iterable) for each in listed):
        raise InputError(
            f"stop_ids must be a list of token ids, or such a list for each of {num_rows} rows, got {listed}"
        )
    return listed


def _run(session: Session, max_new_tokens: int, on_token: OnToken | None) -> Generation:
    """Step until every row has ended."""
    rows = [session.tokens(slot) for slot in session.active]
    log_probabilities: list[list[float]] = [[] for _ in rows]
    alternatives: list[list[Alternatives]] = [[] for _ in rows]
    ended: list[Ended] = ["length"] * len(rows)
    while session.active and max_new_tokens:
        for step in session.step():
            rows[step.slot].append(step.id)
            log_probabilities[step.slot].append(step.log_probability)
            alternatives[step.slot].append(step.alternatives)
            stops = on_token is not None and on_token(step.slot, step.id)
            if step.ended is not None:
                ended[step.slot] = step.ended
            elif stops:
                ended[step.slot] = "callback"
                session.retire(step.slot)
    found = [np.array(row, np.float32) for row in log_probabilities]
    return Generation([np.array(ids) for ids in rows], found, ended, alternatives)
