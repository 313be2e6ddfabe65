"""What a model offers to the heads that may be put on it, and what models that write tokens one by one have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from numformer import ops
from numformer.autograd import Array, ArrayLike, Parameter, Tensor
from numformer.errors import InputError
from numformer.nn.cache import KVCache
from numformer.nn.module import Module

if TYPE_CHECKING:
    from numformer.generation.generate import GenerateSettings, Generation, Prompts


class Backbone(Module):
    """A model with one vector per token, which a head turns into something else: `encode` is what a head reads."""

    looks_ahead: ClassVar[bool]  # whether a position sees those after it
    takes_segments: bool = False  # whether `encode` takes a keyword `segments` [B T]
    separators: ClassVar[int] = 1  # how many end tokens stand between a first and a second text
    config: Any

    @property
    def backbone(self) -> Self:
        """The model itself: it is what a head may be put on."""
        return self

    @property
    def token_table(self) -> Parameter:
        """The embedding of the tokens [V D], which a head that predicts tokens shares."""
        raise TypeError(f"{type(self).__name__} has no token_table")

    def prepare_for_head(self, *, summarises: bool, seed: int) -> None:
        """Drop what only the model on its own or another head needs, and make what this one asks `summary` for."""

    def encode(self, tokens: ArrayLike, mask: ArrayLike | None = None) -> Tensor:
        """Return a vector for every token, tokens [B T] -> [B T D]; `mask` [B T] is False at padding."""
        raise TypeError(f"{type(self).__name__} has no encode")

    def summary(self, x: Tensor, mask: Array | None) -> Tensor:
        """Return the vector that stands for a whole text, x [B T D] -> [B D]."""
        raise TypeError(f"{type(self).__name__} has no summary")


class CausalModel(Backbone):
    """A model that predicts the next token from those before it; a subclass writes `encode` and `logits`."""

    looks_ahead = False
    written_by: ClassVar[Callable[..., Generation] | None] = (
        None  # the function behind `generate`, of a room above this one
    )

    def forward(
        self,
        tokens: ArrayLike,
        cache: KVCache | None = None,
        last: ArrayLike | None = None,
        *,
        segments: ArrayLike | None = None,
        at: ArrayLike | None = None,
    ) -> Tensor:
        """Return the logits of every next token, tokens [B T] -> [B T V], or [B 1 V] at the positions `last` [B] only.

        With a cache the tokens continue those that its rows hold. With `at` [N], places in the B·T tokens, the logits are
        those of these places alone, [N V]; `segments` as in `encode`.
        """
        x = self.encode(tokens, cache=cache, segments=segments)
        if at is not None:
            return self.logits(x.reshape(-1, x.shape[-1])[at])
        return self.logits(x if last is None else ops.take_position(x, last)[:, None])

    if TYPE_CHECKING:
        __call__ = forward

    def encode(
        self,
        tokens: ArrayLike,
        mask: ArrayLike | None = None,
        cache: KVCache | None = None,
        *,
        segments: ArrayLike | None = None,
    ) -> Tensor:
        """Return a vector for every token, tokens [B T] -> [B T D].

        `mask` [B T] is False at padding. Where several sequences lie side by side in a row, `segments` [B T] numbers them:
        none sees another, and the positions of each begin at 0. Raises InputError when the tokens, after those in the
        cache, are over the context length.
        """
        raise TypeError(f"{type(self).__name__} has no encode")

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the next token, x [B T D] -> [B T V]."""
        raise TypeError(f"{type(self).__name__} has no logits")

    def summary(self, x: Tensor, mask: Array | None) -> Tensor:
        """Return the vector of the last real token, which alone has seen all of the text, x [B T D] -> [B D]."""
        return x[:, -1] if mask is None else ops.take_position(x, ops.last_true(mask))

    def make_cache(self, num_rows: int) -> KVCache:
        """Return an empty cache for so many sequences."""
        return KVCache(self.config.num_layers, num_rows, self.config.max_seq_len)

    def generate(
        self, start_tokens: Prompts, max_new_tokens: int = 100, **settings: Unpack[GenerateSettings]
    ) -> Generation:
        """Continue token prompts; see `numformer.generation.generate` for the settings and what is returned."""
        if CausalModel.written_by is None:
            raise InputError("import numformer.generation before a model generates")
        return CausalModel.written_by(self, start_tokens, max_new_tokens, **settings)


def writes_with(generate: Callable[..., Generation]) -> None:
    """Let the method `generate` of models call this function of the room above, which imports the models itself."""
    CausalModel.written_by = staticmethod(generate)


def place(
    tokens: Array, mask: ArrayLike | None, cache: KVCache | None, longest: int, segments: ArrayLike | None = None
) -> tuple[Any, Any]:
    """Return the positions [B T] that tokens [B T] have after those in a cache, and what hides keys from them.

    Both are made once for all layers. Without a cache the positions are None: they are 0..T-1, in every segment of its own
    where there are `segments`. Raises InputError when they reach over the context length.
    """
    length = tokens.shape[1]
    if length > longest:
        raise InputError(f"a sequence of {length} tokens does not fit max_seq_len={longest}")
    if segments is not None:
        if mask is not None or cache is not None:
            raise InputError("segments of a row go together with neither a mask of padding nor a cache")
        return ops.segment_places(segments)
    if cache is None:
        return None, None if mask is None else ops.key_mask(mask)
    if mask is not None:
        raise InputError(
            "a mask of padding and a cache do not go together: the rows of a cache have lengths of their own"
        )
    return cache.positions_and_mask(length)
