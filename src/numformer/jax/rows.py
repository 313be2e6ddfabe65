"""The rows of a session under JAX: every slot has a row of a cache of fixed size, and one compiled step continues all rows.

XLA compiles a function anew for every shape. So prompts are read one at a time, padded to a power of two, and the room of the
cache doubles when a row outgrows it; what is compiled stays with the model, for the sessions to come.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numformer._notices import say
from numformer.generation.protocols import Writer
from numformer.generation.rows import Request, num_shared, rows_by, unread_ids
from numformer.generation.window import window_start
from numformer.jax.cache import FixedCache, Stores

SHORTEST, LEAST_ROOM = 16, 256  # tokens: of a padded prompt, and of the cache at first


@rows_by("jax")
class JaxRows:
    """Runs compiled functions of a model over new tokens only; the row of a request is its slot."""

    def __init__(self, model: Writer, num_rows: int) -> None:
        self.model: Any = model
        self.programs = programs_of(model)
        self.parameters = self.programs.parameters(model)
        self.lengths = np.zeros(num_rows, np.int32)  # tokens that each row holds
        self.room = self.source_room = 0
        self.stores: Stores | None = None

    def read(self, waiting: Sequence[Request]) -> None:
        """Give every waiting request the logits of its next token."""
        longest = self.model.config.max_seq_len
        for request in waiting:
            start = window_start(len(request.ids), longest)
            if start > request.start:  # the window has moved: what is left of it is read again
                request.start, request.num_read = start, 0
        self._make_room(waiting)
        for request in waiting:
            self.lengths[request.slot] = request.num_read
        going = [request for request in waiting if request.num_read and len(unread_ids(request)) == 1]
        for request in waiting:
            if request not in going:
                self._read_alone(request)
        if going:
            self._step(going)

    def reuse(self, old: Request, new: Request) -> None:
        """Give a new request the row of another, as far as its window begins with the same tokens."""
        new.start, new.num_read = num_shared(old, new, self.model.config.max_seq_len)

    def copy(self, request: Request, twin: Request) -> None:
        """Give the twin's row what the request's row holds."""
        if self.stores is not None:
            self.stores = _copy_row(self.stores, request.slot, twin.slot)

    def drop(self, request: Request) -> None:
        """Note that a request has ended: the next one of its slot writes over what it leaves."""
        self.lengths[request.slot] = 0

    def _read_alone(self, request: Request) -> None:
        """Read the unread ids of a request, and first its source where it has one that was not read."""
        ids, longest = unread_ids(request), self.model.config.max_seq_len
        tokens = _padded(ids, min(_length_for(len(ids)), self.room - request.num_read), 0)
        source = None
        if request.source is not None and not request.num_read:
            source = _padded(request.source, min(_length_for(len(request.source)), longest), self.model.config.pad_id)
        row, lengths = np.int32(request.slot), np.array([request.num_read], np.int32)
        logits = self._run(tokens, lengths, np.array([len(ids) - 1]), row, source)
        self._take(request, logits[0])

    def _step(self, going: Sequence[Request]) -> None:
        """Continue rows by one token, in one run of all rows; what the others get is written over by what they read next."""
        tokens = np.zeros((len(self.lengths), 1), np.int32)
        for request in going:
            tokens[request.slot] = request.ids[-1]
        logits = self._run(tokens, self.lengths, np.zeros(len(tokens), np.int32))
        for request in going:
            self._take(request, logits[request.slot])

    def _run(
        self, tokens: np.ndarray, lengths: np.ndarray, last: np.ndarray, row: Any = None, source: Any = None
    ) -> np.ndarray:
        forward = functools.partial(self.programs.run, room=self.room, source_room=self.source_room)
        # `lengths` change while a step may run, so it gets a copy.
        arguments = (tokens, lengths.copy(), last.astype(np.int32), row, source)
        if self.stores is None:
            nothing, rows = Stores({}, {}), len(self.lengths)
            shapes = jax.eval_shape(forward, self.parameters, nothing, *arguments)
            self.stores = jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), x.dtype), shapes[1])
        logits, self.stores = forward(self.parameters, self.stores, *arguments)
        return np.array(logits)

    def _take(self, request: Request, logits: np.ndarray) -> None:
        request.logits, request.num_read = logits, len(request.ids) - request.start
        self.lengths[request.slot] = request.num_read

    def _make_room(self, waiting: Sequence[Request]) -> None:
        """Make the cache larger where a request or its source needs more than it has room for."""
        longest = self.model.config.max_seq_len
        needed = max(len(request.ids) - request.start for request in waiting)
        if needed > self.room:
            self.room = min(longest, _length_for(needed, LEAST_ROOM))
        source = max(len(request.source or ()) for request in waiting)
        if source > self.source_room:
            self.source_room = min(longest, _length_for(source))
        if self.stores is not None:
            itself = _grown(self.stores.itself, self.room)
            self.stores = Stores(itself, *_grown(tuple(self.stores[1:]), self.source_room))


class Programs:
    """The compiled functions of one model, and its parameters in the memory of the device."""

    def __init__(self, model: Any) -> None:
        self._model = weakref.ref(model)  # so that the programs live as long as the model, and not the other way round
        self._sources: list[tuple[Any, int]] = []
        self._parameters: dict[str, Any] = {}
        self.run = jax.jit(self.forward, donate_argnames="stores", static_argnames=("room", "source_room"))

    def parameters(self, model: Any) -> dict[str, Any]:
        """Return parameters and buffers as arrays of JAX; parameters are taken over anew when one of them has changed."""
        named = dict(model.named_parameters())
        sources = [(parameter.data, parameter.version) for parameter in named.values()]
        if len(sources) != len(self._sources) or any(
            old is not new or before != now for (old, before), (new, now) in zip(self._sources, sources, strict=True)
        ):
            self._parameters = {name: jnp.array(parameter.data) for name, parameter in named.items()}
            self._sources = sources
        buffers = {name: jnp.array(buffer.data) for name, buffer in model.named_buffers()}
        return self._parameters | buffers

    def forward(
        self,
        parameters: dict[str, Any],
        stores: Stores,
        tokens: Any,
        lengths: Any,
        last: Any,
        row: Any = None,
        source: Any = None,
        *,
        room: int,
        source_room: int,
    ) -> tuple[Any, Stores]:
        """Return the logits [B V] after the tokens at `last` [B] of tokens [B T], and the stores with what they added.

        The tokens continue rows that hold `lengths` [B]: all, or `row` alone. A source [1 S] is read before.
        """
        unbound = self._model()
        assert unbound is not None, "whoever runs a program holds its model"
        model = unbound.bind(parameters)
        mask = None if source is None else source != model.config.pad_id
        part = stores if row is None else jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, row, 1), stores)
        cache = FixedCache(part, lengths, room, source_room, mask)
        if hasattr(model, "decode"):
            memory = None if source is None else model.encode(source, mask)
            logits = model.decode(tokens, memory, cache.source_mask, cache=cache)
            logits = jnp.take_along_axis(logits, last[:, None, None], axis=1)[:, 0]
        else:
            logits = model(tokens, cache=cache, last=last)[:, 0]
        found = cache.results
        if row is not None and stores.itself:
            found = jax.tree.map(lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, row, 0), stores, found)
        return logits.astype(jnp.float32), found


_programs: weakref.WeakKeyDictionary[Any, Programs] = weakref.WeakKeyDictionary()


def programs_of(model: Any) -> Programs:
    """Return what was compiled for a model so far."""
    if model not in _programs:
        say("JAX compiles the model for every length of a prompt, which takes some seconds each time")
        _programs[model] = Programs(model)
    return _programs[model]


@functools.partial(jax.jit, donate_argnums=0)
def _copy_row(stores: Stores, source: int, target: int) -> Stores:
    copied: Stores = jax.tree.map(lambda x: x.at[target].set(x[source]), stores)
    return copied


def _grown(arrays: Any, room: int) -> Any:
    """Return arrays [R S ...] with room for so many positions, those that have it as they are."""

    def grow(x: Any) -> Any:
        missing = room - x.shape[1]
        return jnp.pad(x, [(0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)]) if missing else x

    return jax.tree.map(grow, arrays)


def _length_for(length: int, least: int = SHORTEST) -> int:
    """Return the power of two that a length is padded to."""
    return max(least, 1 << (length - 1).bit_length())


def _padded(ids: Sequence[int], length: int, fill: int) -> np.ndarray:
    return np.array([[*ids, *[fill] * (length - len(ids))]], np.int32)
