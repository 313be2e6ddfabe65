"""Texts as rows of ids [T], or of word features [T C], with the special tokens that a tokenizer has around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from numformer._notices import say_share
from numformer.data.batching.batches import pad
from numformer.errors import InputError
from numformer.tokenizers import Tokenizer, TokenizerPair, encode_text

_BROKEN_END = re.compile("[\ufffd\udc80-\udcff]$")  # how the beginning of a character is decoded

AnyTokenizer: TypeAlias = Tokenizer | TokenizerPair  # of one text, or of a source and a target


def describe_tokenizer(tokenizer: AnyTokenizer) -> str:
    """Return the class and the size of a tokenizer, or of both in a pair of two."""
    if isinstance(tokenizer, TokenizerPair):
        parts = [tokenizer.target] if tokenizer.source is tokenizer.target else [tokenizer.source, tokenizer.target]
        return " and ".join(describe_tokenizer(part) for part in parts)
    return f"{type(tokenizer).__name__}, {tokenizer.vocab_size} tokens"


def pad_id(tokenizer: Tokenizer) -> int:
    """Return the id that fills batches up; any will do for a tokenizer without one, since padding is masked."""
    return getattr(tokenizer, "pad_id", None) or 0


def special_id(tokenizer: Tokenizer, name: str) -> int:
    """Return a special token's id; raises InputError when the tokenizer has none."""
    number = getattr(tokenizer, name, None)
    if number is None:
        raise InputError(f"this task needs a tokenizer with a {name}; {type(tokenizer).__name__} has none")
    return int(number)


def num_shared(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many ids two rows [N] and [M] begin with in common."""
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length


def vocabulary_size(given: int, tokenizer: Tokenizer, name: str = "vocab_size") -> int:
    """Return the size of a model's vocabulary, the tokenizer's where none (0) is given.

    Raises InputError when the given one is too small for the tokenizer.
    """
    if 0 < given < tokenizer.vocab_size:
        raise InputError(f"{name}={given} is below the {tokenizer.vocab_size} tokens of the tokenizer")
    return given or tokenizer.vocab_size


def encode_tokens(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Return the ids [T] of a text, or the features [T C] of its words where the tokenizer has them."""
    ids = encode_spans(tokenizer, text)[0] if hasattr(tokenizer, "features") else encode_text(tokenizer, text)
    return np.asarray(ids, np.int64)


def encode_spans(tokenizer: Tokenizer, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids [T] or features [T C] of a text and the characters [T 2] that each stands for."""
    if not hasattr(tokenizer, "encode_spans"):
        raise InputError(f"this task needs a tokenizer with encode_spans; {type(tokenizer).__name__} has none")
    ids, spans = tokenizer.encode_spans(text)
    return np.asarray(ids, np.int64), np.asarray(spans, np.int64).reshape(-1, 2)


def special_row(tokenizer: Tokenizer, name: str, like: np.ndarray) -> np.ndarray:
    """Return a special token as a row to put beside ids [T] or features [T C]; no row where there is no such token."""
    number = getattr(tokenizer, name, None)
    if number is None:
        return like[:0]
    row = np.full((1, *like.shape[1:]), pad_id(tokenizer))
    row[0, ...] = number if like.ndim == 1 else [number, *row[0, 1:]]
    return row


def frame_of(tokenizer: Tokenizer, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what stands before and after a text, as rows: what its tokenizer.json puts there, else begin and end tokens."""
    if (frame := getattr(tokenizer, "frame_ids", None)) is None:
        return special_row(tokenizer, "bos_id", like), special_row(tokenizer, "eos_id", like)
    return np.array(frame[0], like.dtype), np.array(frame[1], like.dtype)


def cut(tokenizer: Tokenizer, text: str, ids: np.ndarray, room: int) -> np.ndarray:
    """Return the first `room` tokens of a text; fewer where the last of them would be a part of a character, as a byte is."""
    room = max(0, room)
    if len(ids) > room and ids.ndim == 1 and _ends_inside_a_character(tokenizer, ids[:room]):
        starts, ends = encode_spans(tokenizer, text)[1].T
        while room and starts[room - 1] <= starts[room] < ends[room - 1]:
            room -= 1
    return ids[:room]


def _ends_inside_a_character(tokenizer: Tokenizer, ids: np.ndarray) -> bool:
    """Tell whether that looks so, quickly; a tokenizer without spans cannot be asked further and is taken at its tokens."""
    last = ids[-4:]  # a character has four bytes at most
    return hasattr(tokenizer, "encode_spans") and _BROKEN_END.search(tokenizer.decode(last)) is not None


def say_cut(number: int, total: int, things: str, max_seq_len: int) -> None:
    """Say how many of some things, such as "training texts", were cut to the context length, where any was."""
    say_share(number, total, things, f"cut to max_seq_len={max_seq_len} tokens")


def framed(tokenizer: Tokenizer, texts: Sequence[str], max_seq_len: int, part: str = "") -> list[np.ndarray]:
    """Return texts between the begin and end tokens, cut to the context length; how many were cut is said.

    `part` is what they are, "training" or "held-out".
    """
    encoded = [_framed(tokenizer, text, max_seq_len) for text in texts]
    say_cut(sum(is_cut for _, is_cut in encoded), len(texts), f"{part} texts".lstrip(), max_seq_len)
    return [ids for ids, _ in encoded]


def _framed(tokenizer: Tokenizer, text: str, max_seq_len: int) -> tuple[np.ndarray, bool]:
    ids = encode_tokens(tokenizer, text)
    first, last = frame_of(tokenizer, ids)
    kept = cut(tokenizer, text, ids, max_seq_len - len(first) - len(last))
    framed = np.concatenate([first, kept, last])[:max_seq_len]
    return framed if len(framed) else np.zeros((1, *ids.shape[1:]), np.int64), len(kept) < len(ids)


def padded(rows: Sequence[np.ndarray], value: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows under each other, filled up with `value`, and the mask [B T] of what is real."""
    lengths = np.array([len(row) for row in rows])
    table = pad(rows, value)
    return table, np.arange(table.shape[1]) < lengths[:, None]
