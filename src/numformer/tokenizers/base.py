"""What a tokenizer is, and the checks that hold for every one of them."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError

TokenIds: TypeAlias = Sequence[int] | NDArray[Any]


@runtime_checkable
class Tokenizer(Protocol):
    """Anything that turns text into token ids 0..vocab_size-1 and back; no base class is needed.

    Two things are optional: a `save(path)` method, needed only where a model is saved, and the ids of special
    tokens as attributes `bos_id`, `eos_id`, `pad_id`, `unk_id` (absent or None: there is no such token).
    """

    @property
    def vocab_size(self) -> int:
        """The number of token ids."""

    def encode(self, text: str, /) -> TokenIds:
        """Return the token ids of `text`, as a list or an integer array."""

    def decode(self, ids: TokenIds, /) -> str:
        """Return the text of token ids."""


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest unsigned integer type that holds every id of a vocabulary."""
    return np.min_scalar_type(max(vocab_size - 1, 0))


def check_ids(ids: TokenIds, vocab_size: int) -> NDArray[Any]:
    """Return token ids as an integer array [N].

    Raises InputError when they are not a flat sequence of integers in 0..vocab_size-1.
    """
    array = np.asarray(ids)
    if array.shape == (0,):
        return array.astype(token_dtype(vocab_size))
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"token ids must be a flat sequence of integers, got {array.dtype} of shape {array.shape}")
    outside = (array < 0) | (array >= vocab_size)
    if outside.any():
        raise InputError(f"token id {array[outside][0]} is outside the vocabulary of {vocab_size} ids")
    return array


def encode_text(tokenizer: Tokenizer, text: str) -> NDArray[Any]:
    """Encode with any tokenizer into an array [N] of the smallest unsigned type that fits its vocabulary.

    Raises InputError for text the tokenizer cannot encode, and for ids outside its vocabulary.
    """
    ids = check_ids(tokenizer.encode(text), tokenizer.vocab_size)
    return ids.astype(token_dtype(tokenizer.vocab_size), copy=False)
