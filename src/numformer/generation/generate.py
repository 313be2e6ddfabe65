"""Generation of token ids: a loop over a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypedDict, Unpack, get_type_hints, overload

import numpy as np

from numformer import random
from numformer._names import check_settings
from numformer._notices import amount
from numformer.autograd import Tensor
from numformer.errors import InputError
from numformer.generation.protocols import CausalLM
from numformer.generation.sampling import SamplingConfig
from numformer.generation.session import Ended, Prompt, Session

Prompts: TypeAlias = Sequence[Prompt] | np.ndarray | Tensor
"""Token ids to continue: an array or a Tensor [B T], or B lists of any lengths."""

OnToken: TypeAlias = Callable[[int, int], bool | None]
"""Hears the row and the id of every new token, and returns True to end that row."""


class SamplingSettings(TypedDict, total=False):
    """The fields of SamplingConfig, as keywords."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float


class GenerateSettings(SamplingSettings, total=False):
    """What `generate` takes besides the model, the tokens to start from and the number of new ones."""

    sampling: SamplingConfig | None
    seed: int
    stop_ids: Sequence[int]
    vocab_size: int | None
    use_cache: bool
    on_token: OnToken | None


class Generation(Sequence[np.ndarray]):
    """What was generated: row by row the ids of prompt and continuation, by index.

    `log_probabilities[row]` are those of the row's new tokens, under the model's own distribution; `ended[row]` says why
    it ended: "length", "stop" or "callback".
    """

    def __init__(self, rows: list[np.ndarray], log_probabilities: list[np.ndarray], ended: list[Ended]) -> None:
        self.log_probabilities, self.ended = log_probabilities, ended
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
    model: CausalLM,
    start_tokens: Prompts,
    max_new_tokens: int = 100,
    *,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
    stop_ids: Iterable[int] = (),
    vocab_size: int | None = None,
    use_cache: bool = True,
    on_token: OnToken | None = None,
    **settings: Unpack[SamplingSettings],
) -> Generation:
    """Continue prompts of any lengths: an array or Tensor [B T], or B lists of ids.

    `settings` are the fields of SamplingConfig (temperature, top_k, top_p, min_p, repetition_penalty), given one by one or
    as `sampling`. A row ends after `max_new_tokens`, after a token of `stop_ids`, or when `on_token(row, id)` returns
    True. Only ids below `vocab_size` are chosen, where it is given. Row r draws from the generator of (seed, r), so its
    result does not depend on the other rows, nor on the cache. The model predicts without dropout, and its mode stays.
    Past the context length the oldest half-context is dropped (see `numformer.generation.window`).
    Raises InputError for an empty prompt, for settings out of range and for unknown ones.
    """
    if sampling is not None and settings:
        raise InputError(f"give sampling or its fields, not both; got sampling and {', '.join(sorted(settings))}")
    check_settings(settings, get_type_hints(SamplingSettings))
    sampling = sampling or SamplingConfig(**settings)
    stop_ids = (
        tuple(stop_ids) if isinstance(stop_ids, Iterable) else stop_ids
    )  # for every row, where they can be listed
    prompts = list(start_tokens.data if isinstance(start_tokens, Tensor) else start_tokens)
    if not prompts or not all(np.size(prompt) for prompt in prompts):
        raise InputError("generation needs at least one prompt, and at least one token in every prompt")
    for name, value in (("max_new_tokens", max_new_tokens), ("seed", seed)):
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise InputError(f"{name} must be a whole number of at least 0, got {value!r}")
    session = Session(model, len(prompts), vocab_size=vocab_size, sliding=True, use_cache=use_cache)
    for row, prompt in enumerate(prompts):  # into the slot of its own number
        session.admit(
            prompt,
            sampling,
            max_new_tokens=max(1, max_new_tokens),
            stop_ids=stop_ids,
            seed=random.generator(seed, row),
        )
    return _run(session, max_new_tokens, on_token)


def _run(session: Session, max_new_tokens: int, on_token: OnToken | None) -> Generation:
    """Step until every row has ended."""
    rows = [session.tokens(slot) for slot in session.active]
    log_probabilities: list[list[float]] = [[] for _ in rows]
    ended: list[Ended] = ["length"] * len(rows)
    while session.active and max_new_tokens:
        for step in session.step():
            rows[step.slot].append(step.id)
            log_probabilities[step.slot].append(step.log_probability)
            stops = on_token is not None and on_token(step.slot, step.id)
            if step.ended is not None:
                ended[step.slot] = step.ended
            elif stops:
                ended[step.slot] = "callback"
                session.retire(step.slot)
    return Generation([np.array(ids) for ids in rows], [np.array(row, np.float32) for row in log_probabilities], ended)
