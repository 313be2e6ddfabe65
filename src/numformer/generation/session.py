"""Session: requests that come and go while others run, continued token by token over one cache.

    session = Session(model, num_slots=8)
    slot = session.admit(prompt, SamplingConfig(temperature=0.7), max_new_tokens=100, seed=1)
    while session.active:
        for step in session.step():
            print(step.slot, step.id, step.ended)

Every request has settings, a generator and an end of its own. What it draws does not depend on the other requests, and its
logits do by rounding only. A prompt is read at the next step, together with others that were admitted since the last; one
that has ended costs nothing and leaves its slot free. Below `step` stand `logits`, `append` and `fork`, on which other ways
to choose tokens are built, such as beam search.

A chat reads each turn once: its request keeps the slot, and the next prompt, which begins with the same tokens, takes the
place of the last one.

    slot = session.admit(prompt, keep=True)
    slot = session.admit(longer_prompt, keep=True, reuse=slot)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from numformer import random
from numformer.autograd import Tensor, inference
from numformer.errors import InputError
from numformer.generation.logits import NOTHING_LEFT, Processor, process, processors_of
from numformer.generation.protocols import Writer
from numformer.generation.rows import Ended, Request, make_rows, unread_ids
from numformer.generation.sampling import SamplingConfig, sample
from numformer.ops.embedding import check_ids

Prompt: TypeAlias = Sequence[int] | np.ndarray | Tensor
"""The token ids of one sequence."""

Alternatives: TypeAlias = tuple[tuple[int, float], ...]
"""The most probable next tokens with their log-probabilities, most probable first."""


class Step(NamedTuple):
    """The next token of a request.

    `log_probability` is the model's own, before rules, temperature and filters, and so are those of the `alternatives`
    that the request asked for; `ended` says why the request has ended with this token, or is None.
    """

    slot: int
    id: int
    log_probability: float
    ended: Ended | None
    alternatives: Alternatives = ()


class Session:
    """Continues up to `num_slots` sequences at once with one model, a language model or an encoder-decoder.

    Only ids below `vocab_size` are chosen, where it is given. With `sliding`, sequences go on past the context length by
    the rule of `numformer.generation.window`; otherwise they end there. Without `use_cache` every token costs a pass over
    its whole sequence: that is the definition of what the cache must give. With `backend` "jax" the model runs compiled,
    and tokens are chosen from its logits as ever. The model is used for prediction, whatever its mode, which stays as it is.
    """

    def __init__(
        self,
        model: Writer,
        num_slots: int,
        *,
        vocab_size: int | None = None,
        sliding: bool = False,
        use_cache: bool = True,
        backend: str = "numpy",
    ) -> None:
        if not isinstance(num_slots, (int, np.integer)) or num_slots < 1:
            raise InputError(f"num_slots must be a whole number of at least 1, got {num_slots!r}")
        if not hasattr(model, "make_cache"):
            raise InputError(f"a {type(model).__name__} does not write tokens one by one")
        self.model, self.vocab_size, self.sliding = model, vocab_size, sliding
        self._reads_sources = hasattr(model, "decode")
        sizes = model.config
        self._num_tokens: int = sizes.tgt_vocab_size if hasattr(sizes, "tgt_vocab_size") else sizes.vocab_size
        if vocab_size is not None and not 1 <= vocab_size <= self._num_tokens:
            raise InputError(f"vocab_size must be from 1 to the model's {self._num_tokens} tokens, got {vocab_size}")
        self._slots: list[Request | None] = [None] * num_slots
        self._rows = make_rows(model, num_slots, use_cache, backend)

    @property
    def num_tokens(self) -> int:
        """The number of distinct tokens that the model knows."""
        return self._num_tokens

    @property
    def active(self) -> list[int]:
        """The slots of requests that go on."""
        return [request.slot for request in self._going()]

    def tokens(self, slot: int) -> list[int]:
        """Return the ids of a slot's sequence so far, the prompt's first."""
        return list(self._request(slot).ids)

    def num_unread(self, slot: int) -> int:
        """Return how many tokens of a slot's sequence the model has yet to read for the logits of the next."""
        return len(unread_ids(self._request(slot)))

    def admit(
        self,
        prompt: Prompt,
        settings: SamplingConfig | None = None,
        *,
        source: Prompt | None = None,
        max_new_tokens: int | None = None,
        stop_ids: Iterable[int] = (),
        seed: int | np.random.Generator = 0,
        processors: Sequence[Processor] = (),
        num_alternatives: int = 0,
        keep: bool = False,
        reuse: int | None = None,
    ) -> int:
        """Take in a prompt, with the source that an encoder-decoder reads, and return its slot.

        The request ends after `max_new_tokens`, where given, or after a token of `stop_ids`; its draws come from `seed`
        or, where that is a generator, from it. `processors` are functions (ids, logits) -> logits that follow the rules of
        the settings. Its steps tell so many alternatives of every token. With `keep` the slot stays in use after the end,
        to be taken over: a request that is to `reuse` a slot takes the place of the one there, and what both begin with
        is not read again. Raises InputError, and changes nothing, when every slot is in use, for a prompt that is empty
        or over the context length, and for ids outside the vocabulary.
        """
        ids = self._checked(prompt, "prompt", self._num_tokens, any_length=self.sliding)
        if self._reads_sources is not (source is not None):
            wanted = "needs the source that it writes from" if self._reads_sources else "takes no source"
            raise InputError(f"{type(self.model).__name__} {wanted}")
        src = None
        if source is not None:
            src = self._checked(source, "source", getattr(self.model.config, "src_vocab_size", self._num_tokens))
        if max_new_tokens is not None and not (isinstance(max_new_tokens, (int, np.integer)) and max_new_tokens >= 1):
            raise InputError(f"max_new_tokens must be a whole number of at least 1, got {max_new_tokens!r}")
        if not isinstance(num_alternatives, (int, np.integer)) or num_alternatives < 0:
            raise InputError(f"num_alternatives must be a whole number of at least 0, got {num_alternatives!r}")
        if not isinstance(seed, np.random.Generator) and not (isinstance(seed, (int, np.integer)) and seed >= 0):
            raise InputError(f"seed must be a whole number of at least 0, got {seed!r}")
        if settings is not None and not isinstance(settings, SamplingConfig):
            raise InputError(f"the settings of a request are a SamplingConfig, got {settings!r}")
        if not isinstance(stop_ids, Iterable):
            raise InputError(f"stop_ids must be a list of token ids, got {stop_ids!r}")
        stops, settings = frozenset(stop_ids), settings or SamplingConfig()
        rules = processors_of(settings, len(ids), stops, self._num_tokens, processors)
        old = None if reuse is None else self._request(reuse)
        slot = self._free_slot() if old is None else old.slot
        request = Request(slot, ids, src, settings, seed, stops, max_new_tokens, rules, num_alternatives, keep)
        if old is not None:
            self._rows.reuse(old, request)
        self._slots[slot] = request
        return slot

    def step(self) -> list[Step]:
        """Continue every request by one token; those that end with it leave their slots free, unless they keep them.

        Raises InputError when a request's logits are not numbers, or its rules leave no token, before anything is drawn.
        """
        found = self.logits()
        if not found:
            return []
        logits = np.concatenate(list(found.values())).reshape(len(found), -1)
        largest = logits.max(axis=1)
        for slot, number in zip(found, largest.tolist(), strict=True):
            if not math.isfinite(number):
                raise InputError(f"the logits of slot {slot} are NaN, +inf or all -inf, so there is no token to choose")
        logits -= largest[:, None]
        # log p = logit - largest - log Σ e^(logit - largest)
        log_totals = np.log(np.exp(logits).sum(axis=1)).tolist()
        requests = [self._request(slot) for slot in found]
        ruled = [process(request.processors, request.ids, found[request.slot]) for request in requests]
        for request, row in zip(requests, ruled, strict=True):
            if request.processors and not math.isfinite(row.max()):
                raise InputError(f"slot {request.slot}: {NOTHING_LEFT}")
        tokens = [_choose(request, row) for request, row in zip(requests, ruled, strict=True)]
        return [
            Step(
                request.slot,
                token,
                float(row[token]) - log_total,
                self._end_or_append(request, token),
                _most_probable(row, log_total, request.num_alternatives) if request.num_alternatives else (),
            )
            for request, token, row, log_total in zip(requests, tokens, logits, log_totals, strict=True)
        ]

    def retire(self, slot: int) -> None:
        """End a request and leave its slot free."""
        self._rows.drop(self._request(slot))
        self._slots[slot] = None

    def logits(self) -> dict[int, np.ndarray]:
        """Return the logits [V] of the next token of every request that goes on, by slot.

        What was read already costs nothing.
        """
        requests = self._going()
        waiting = [request for request in requests if request.logits is None]
        if waiting:
            with inference():
                self._rows.read(waiting)
        return {request.slot: request.logits[: self.vocab_size] for request in requests if request.logits is not None}

    def append(self, slot: int, token: int) -> None:
        """Add a token to a request; raises InputError when its context is full or the id is outside the vocabulary."""
        request = self._request(slot)
        if not isinstance(token, (int, np.integer)) or not 0 <= token < self._num_tokens:
            raise InputError(f"got the token {token}, but the vocabulary has {self._num_tokens} tokens")
        if request.ended is not None:
            raise InputError(f"the request in slot {slot} has ended: admit another prompt with reuse={slot}")
        if self._is_full(request):
            raise InputError(f"slot {slot} holds {len(request.ids)} tokens, as many as the model can read")
        request.ids.append(int(token))
        request.num_new += 1
        request.logits = None

    def fork(self, slot: int) -> int:
        """Continue a sequence in two ways: return another slot that holds the same tokens, settings and random state.

        Raises InputError, and changes nothing, when every slot is in use.
        """
        request = self._request(slot)
        twin = copy.copy(request)
        twin.slot, twin.ids, twin.generator = self._free_slot(), list(request.ids), copy.deepcopy(request.generator)
        if isinstance(request.seed, np.random.Generator):  # nothing was drawn from it yet
            twin.seed = copy.deepcopy(request.seed)
        self._rows.copy(request, twin)
        self._slots[twin.slot] = twin
        return twin.slot

    def _going(self) -> list[Request]:
        return [request for request in self._slots if request is not None and request.ended is None]

    def _end_or_append(self, request: Request, token: int) -> Ended | None:
        request.ended = self._why_ended(request, token)
        if request.ended is None:
            self.append(request.slot, token)
        elif not request.keep:
            self.retire(request.slot)
        return request.ended

    def _request(self, slot: int) -> Request:
        request = self._slots[slot] if 0 <= slot < len(self._slots) else None
        if request is None:
            in_use = [number for number, each in enumerate(self._slots) if each is not None]
            raise InputError(f"slot {slot} is not in use; those in use are {in_use}")
        return request

    def _free_slot(self) -> int:
        if None not in self._slots:
            raise InputError(f"all {len(self._slots)} slots of the session are in use: retire one first")
        return self._slots.index(None)

    def _is_full(self, request: Request) -> bool:
        return not self.sliding and len(request.ids) >= self.model.config.max_seq_len

    def _why_ended(self, request: Request, token: int) -> Ended | None:
        """Say why a request ends with its next token, or None where it goes on."""
        if token in request.stop_ids:
            return "stop"
        if request.num_new + 1 == request.max_new_tokens:
            return "length"
        return "context" if self._is_full(request) else None

    def _checked(self, ids: Prompt, what: str, num_tokens: int, any_length: bool = False) -> list[int]:
        """Return ids as a list of whole numbers within the vocabulary and the context."""
        array, longest = np.asarray(ids), self.model.config.max_seq_len
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise InputError(f"a {what} must be a list of token ids, got {array.dtype} of shape {array.shape}")
        if not array.size:
            raise InputError(f"a {what} needs at least one token")
        if len(array) > longest and not any_length:
            raise InputError(f"a {what} of {len(array)} tokens does not fit max_seq_len={longest}")
        check_ids(array, num_tokens)
        return [int(token) for token in array]


def _choose(request: Request, logits: np.ndarray) -> int:
    if request.generator is None:
        request.generator = _generator(request.seed)
    return sample(logits, request.settings, request.generator)


def _most_probable(shifted: np.ndarray, log_total: float, count: int) -> Alternatives:
    """Return the `count` most probable tokens, given logits [V] with their maximum at 0 and the log of Σ e^logits."""
    first = np.argsort(-shifted, kind="stable")[:count]
    return tuple((int(token), float(shifted[token]) - log_total) for token in first)


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    return seed if isinstance(seed, np.random.Generator) else random.generator(seed)
