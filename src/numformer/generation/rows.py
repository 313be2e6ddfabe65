"""From the requests of a session to the logits of their next tokens: with a cache or, as its definition, without.

A request is a row of the cache while it runs. The rows in use come first, without holes, so that the model sees a range of
rows and nothing that has finished.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from numformer.autograd.array import NUMPY, open_room
from numformer.errors import InputError
from numformer.generation.logits import Processor
from numformer.generation.protocols import CausalLM, EncoderDecoder, Writer
from numformer.generation.sampling import SamplingConfig
from numformer.generation.window import window_start

Ended: TypeAlias = Literal["length", "stop", "context", "callback"]
"""Why a sequence ended: enough new tokens, a stop token, a full context, or whoever watched it said so."""


@dataclass(eq=False)
class Request:
    """One sequence that a session continues: what it asks for, its tokens, and how far the model has read them."""

    slot: int
    ids: list[int]
    source: list[int] | None
    settings: SamplingConfig
    seed: int | np.random.Generator
    stop_ids: frozenset[int]
    max_new_tokens: int | None
    processors: list[Processor]
    num_alternatives: int
    keep: bool  # the slot, with what the model has read, after the end
    ended: Ended | None = None
    num_new: int = 0
    generator: np.random.Generator | None = None  # made from the seed at the first draw
    logits: np.ndarray | None = None  # of the next token [V], once the model has read all ids
    start: int = 0  # of the ids that the model sees; those before it were dropped
    num_read: int = 0  # of the ids from `start` on, those that the request's row of the cache holds
    row: int | None = None


class Rows(Protocol):
    """What a session asks of the rows that its requests are read in."""

    def read(self, waiting: Sequence[Request]) -> None:
        """Give every waiting request the logits of its next token."""

    def reuse(self, old: Request, new: Request) -> None:
        """Let a new request take the place of another, with what both begin with."""

    def copy(self, request: Request, twin: Request) -> None:
        """Let the twin begin where the request stands."""

    def drop(self, request: Request) -> None:
        """Forget what was read of a request that has ended."""


Maker = TypeVar("Maker", bound="Callable[[Writer, int], Rows]")
_makers: dict[str, Callable[[Writer, int], Rows]] = {}  # by kind of array, besides NumPy's
BACKENDS = (NUMPY, "jax")


def rows_by(kind: str) -> Callable[[Maker], Maker]:
    """Return a decorator that registers what makes rows of a model for another kind of array."""

    def register(maker: Maker) -> Maker:
        _makers[kind] = maker
        return maker

    return register


def make_rows(model: Writer, num_rows: int, use_cache: bool, backend: str) -> Rows:
    """Return rows for so many requests; raises InputError for a backend that is not known, or without a cache but NumPy."""
    if backend not in BACKENDS:
        raise InputError(f"backend must be {' or '.join(BACKENDS)}, got {backend!r}")
    if backend == NUMPY:
        return CachedRows(model, num_rows) if use_cache else UncachedRows(model)
    if not use_cache:
        raise InputError(f"use_cache=False is for the backend {NUMPY}, got {backend!r}")
    open_room(backend)
    return _makers[backend](model, num_rows)


class UncachedRows:
    """Runs the model over every request's whole window, one at a time, at every token."""

    def __init__(self, model: Writer) -> None:
        self.model = model

    def read(self, waiting: Sequence[Request]) -> None:
        """Give every waiting request the logits of its next token."""
        for request in waiting:
            start = window_start(len(request.ids), self.model.config.max_seq_len)
            window = np.array([request.ids[start:]])
            request.logits = _next_logits(self.model, [request], window, np.array([window.shape[1] - 1]))[0]

    def reuse(self, old: Request, new: Request) -> None:
        """Note that a request takes another's place: nothing is kept, so there is nothing to take over."""

    def copy(self, request: Request, twin: Request) -> None:
        """Note that the twin begins where the request stands: nothing is kept, so there is nothing to copy."""

    def drop(self, request: Request) -> None:
        """Note that a request has ended: nothing is kept of it."""


class CachedRows:
    """Runs the model over new tokens only: prompts together, padded, and all that go on by one token together."""

    def __init__(self, model: Writer, num_rows: int) -> None:
        self.model = model
        self.cache = model.make_cache(num_rows)
        self.requests: list[Request | None] = []  # of every row in use; None where one has ended

    def read(self, waiting: Sequence[Request]) -> None:
        """Give every waiting request the logits of its next token."""
        longest = self.model.config.max_seq_len
        for request in waiting:
            start = window_start(len(request.ids), longest)
            if start > request.start:  # the window has moved: what is left of it is read again
                self.drop(request)
                request.start, request.num_read = start, 0
        if None in self.requests:
            self._close_holes()
        for request in waiting:
            if request.row is None:
                self._place(request, len(self.requests))
        first = 0
        for is_run, group in itertools.groupby(cast(list[Request], self.requests), _run_key):
            requests = list(group)
            if is_run is not None:
                self._run(requests, first)
            first += len(requests)

    def reuse(self, old: Request, new: Request) -> None:
        """Give a new request the row of another, as far as its window begins with the same tokens."""
        new.start, shared = num_shared(old, new, self.model.config.max_seq_len)
        if old.row is None or not shared:
            self.drop(old)
            return
        row, old.row = old.row, None
        self.cache.lengths[row] = new.num_read = shared
        self._place(new, row)

    def copy(self, request: Request, twin: Request) -> None:
        """Give the twin a row of its own with what the request's row holds, in a hole where there is one."""
        if request.row is None:
            return
        row = self.requests.index(None) if None in self.requests else len(self.requests)
        self.cache.copy_row(request.row, row)
        self._place(twin, row)

    def drop(self, request: Request) -> None:
        """Take a request out of its row."""
        if request.row is not None:
            self.cache.clear_row(request.row)
            self.requests[request.row] = None
            request.row = None

    def _place(self, request: Request, row: int) -> None:
        self.requests[row : row + 1] = [request]
        request.row = row

    def _close_holes(self) -> None:
        """Move requests from the end into the rows of those that have ended."""
        for row in range(len(self.requests)):
            while self.requests and self.requests[-1] is None:
                self.requests.pop()
            if row < len(self.requests) and self.requests[row] is None:
                last = len(self.requests) - 1
                moved = cast(Request, self.requests[last])
                self.cache.copy_row(last, row)
                self.drop(moved)
                self._place(moved, row)

    def _run(self, requests: list[Request], first: int) -> None:
        """Run the model over the unread ids of requests in the rows from `first` on, padded on the right.

        No real token looks there, and the padding that a short row has stored is written over by what it reads next.
        """
        unread = [unread_ids(request) for request in requests]
        tokens = _padded(unread, 0)
        cache = self.cache.rows(first, first + len(requests))
        last = None if tokens.shape[1] == 1 else np.array([len(ids) - 1 for ids in unread])
        try:
            logits = _next_logits(self.model, requests, tokens, last, cache)
            for request, ids, row in zip(requests, unread, logits, strict=True):
                request.num_read += len(ids)
                request.logits = row
        finally:  # the model has counted padding, and after an exception tokens that are to be read again
            cache.lengths[:] = [request.num_read for request in requests]


def unread_ids(request: Request) -> list[int]:
    """Return the ids of a request that the model has yet to read."""
    return request.ids[request.start + request.num_read :]


def num_shared(old: Request, new: Request, max_seq_len: int) -> tuple[int, int]:
    """Return where the window of a new request starts, and how many of its first tokens the model has read for another.

    The last token is never among them: it is read again, for its logits.
    """
    start = window_start(len(new.ids), max_seq_len)
    if old.source != new.source:
        return start, 0
    pairs = zip(old.ids[old.start : old.start + old.num_read], new.ids[start:-1], strict=False)
    return start, sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _run_key(request: Request) -> object:
    """Tell which neighbours run together: prompts, those that go on by one token, and others each alone; None for rest."""
    if request.logits is not None:
        return None
    if request.num_read == 0:
        return "prompt"
    return "next" if len(unread_ids(request)) == 1 else request.slot


def _next_logits(
    model: Writer, requests: list[Request], tokens: np.ndarray, last: np.ndarray | None, cache: Any = None
) -> Any:
    """Return the logits [B V] after the token at `last` [B], or the only one, of tokens [B T] that continue the cache."""
    if requests[0].source is None:
        return cast(CausalLM, model)(tokens, cache=cache, last=last).data[:, 0]
    model = cast(EncoderDecoder, model)
    if requests[0].num_read > 0:
        memory, mask = None, cache.source_mask
    else:
        src = _padded([request.source or [] for request in requests], model.config.pad_id)
        mask = src != model.config.pad_id
        memory = model.encode(src, mask)
        if cache is not None:
            cache.set_sources(mask)
    logits = model.decode(tokens, memory, mask, cache=cache).data
    return logits[:, 0] if last is None else logits[np.arange(len(tokens)), last]


def _padded(rows: list[list[int]], fill: int) -> np.ndarray:
    """Return lists of ids as an array [B T], filled up on the right."""
    longest = max(map(len, rows))
    return np.array([ids + [fill] * (longest - len(ids)) for ids in rows], np.intp)
