"""What a tokenizer is, and the checks that hold for every one of them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError

TokenIds: TypeAlias = Sequence[int] | NDArray[Any]

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", "<mask>")  # Our own tokenizers call them so.

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@runtime_checkable
class Savable(Protocol):
    """What can be saved beside a model: a tokenizer with the optional `save`, or a TokenizerPair."""

    def save(self, path: str | Path, /) -> None:
        """Write tokenizer.json into the folder `path`."""


@runtime_checkable
class Tokenizer(Protocol):
    """Anything that turns text into token ids 0..vocab_size-1 and back; no base class is needed.

    Five things are optional:

    - `save(path)`, needed only where a model is saved (see Savable);
    - the ids of special tokens as attributes `pad_id`, `bos_id`, `eos_id`, `unk_id` and `mask_id` (absent or None:
      there is no such token). `encode` adds none of them, a special token's name in a text is text like any other,
      and `decode` leaves them out;
    - `begin_ids`, a list of the special tokens with which a text to be continued begins, for models that learned so;
    - `encode_spans(text)`, which also says where each token stands: ids [N] (or rows of features [N F]) and an integer
      array of spans [N 2], each the first character of the token in `text` and the one after its last;
    - `encode_batch(texts)`, a list of the ids of each text, where that is faster than one call per text.
    """

    @property
    def vocab_size(self) -> int:
        """The number of token ids, special tokens among them."""

    def encode(self, text: str, /) -> TokenIds:
        """Return the token ids [N] of `text`, as a list or an integer array; raises InputError for text it cannot encode."""

    def decode(self, ids: TokenIds, /) -> str:
        """Return the text of token ids [N], without special tokens."""


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
    return _smallest(tokenizer.encode(text), tokenizer.vocab_size)


def encode_after(tokenizer: Tokenizer, before: str, text: str) -> NDArray[Any]:
    """Encode a text that goes on from another as its end is in both together, where the other is in them as it is alone.

    So a tokenizer that puts a space before every text puts none between the two.
    """
    if not before:
        return encode_text(tokenizer, text)
    first, both = encode_text(tokenizer, before), encode_text(tokenizer, before + text)
    size = len(first)
    return both[size:] if len(both) > size and np.array_equal(both[:size], first) else encode_text(tokenizer, text)


def begin_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the special tokens [N] with which a text to be continued begins; most tokenizers have none."""
    return np.array(getattr(tokenizer, "begin_ids", ()), np.int64)


def encode_all(tokenizer: Tokenizer, texts: Iterable[str]) -> list[NDArray[Any]]:
    """Encode every text as `encode_text` does, through the tokenizer's `encode_batch` when it has one."""
    encode_batch = getattr(tokenizer, "encode_batch", None)
    encoded = map(tokenizer.encode, texts) if encode_batch is None else encode_batch(texts)
    vocab_size = tokenizer.vocab_size
    return [_smallest(ids, vocab_size) for ids in encoded]


def _smallest(ids: TokenIds, vocab_size: int) -> NDArray[Any]:
    return check_ids(ids, vocab_size).astype(token_dtype(vocab_size), copy=False)


def printable(text: str) -> str:
    """Return a decoded text as one that can be printed and written as UTF-8: U+FFFD stands for every byte that is none.

    Such bytes are lone surrogates in what `decode` returns, so that nothing is lost there.
    """
    return _LONE_SURROGATE.sub("\ufffd", text)


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code point of every character [N]; lone surrogates are characters like any other."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
