"""Texts as rows of ids [T], or of word features [T C], with the special tokens that a tokenizer has around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from numformer.data.batches import pad
from numformer.errors import InputError
from numformer.tokenizers import Tokenizer, TokenizerPair, encode_text

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


def framed(tokenizer: Tokenizer, text: str, max_seq_len: int) -> np.ndarray:
    """Return a text between the begin and end tokens, cut to the context length."""
    ids = encode_tokens(tokenizer, text)
    first, last = special_row(tokenizer, "bos_id", ids), special_row(tokenizer, "eos_id", ids)
    kept = ids[: max_seq_len - len(first) - len(last)]
    framed = np.concatenate([first, kept, last])[:max_seq_len]
    return framed if len(framed) else np.zeros((1, *ids.shape[1:]), np.int64)


def padded(rows: Sequence[np.ndarray], value: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows under each other, filled up with `value`, and the mask [B T] of what is real."""
    lengths = np.array([len(row) for row in rows])
    table = pad(rows, value)
    return table, np.arange(table.shape[1]) < lengths[:, None]
