"""A text, or a pair of texts, as what a classifier and a regressor read: which of the two it is, and its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np

from numformer.data.tables.columns import Texts
from numformer.errors import InputError
from numformer.tasks.shared.encoding import cut, encode_tokens, framed, pad_id, padded, say_cut, special_row
from numformer.tasks.shared.prediction import as_list
from numformer.tokenizers import Tokenizer

NAMES = ("text", "text_pair")  # of the texts of a pair, in predictions and where the data has no others


@dataclass(frozen=True)
class EncodedText:
    """The tokens [T] (or features [T C]) of a text or of a pair, and where the second text of a pair begins."""

    tokens: np.ndarray
    second: int | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def segments(self) -> np.ndarray:
        """The segment of each token [T]: 0 for the first text, 1 for the second and what follows."""
        return (np.arange(len(self)) >= (len(self) if self.second is None else self.second)).astype(np.int64)


def is_text_or_pair(value: object) -> bool:
    """Tell whether a value is a text, or a pair of texts."""
    return isinstance(value, str) or is_pair(value)


def is_pair(value: object) -> bool:
    """Tell whether a value is a pair of texts."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(text, str) for text in value)


def as_texts_or_pairs(given: Any, wants_pairs: bool | None) -> list[Texts]:
    """Return texts, or pairs of texts as tuples, as a list; a model of which nothing is known (None) takes both.

    Raises InputError for what is neither, for a single text where the model reads pairs, and the other way round.
    """
    found = list[Texts]()
    for number, value in enumerate(as_list(given)):
        if not is_text_or_pair(value):
            raise InputError(f"expected a list of texts or pairs of texts, got {repr(value)[:60]} as number {number}")
        if wants_pairs is not None and is_pair(value) != wants_pairs:
            takes, got = ("pairs of texts", "a single text") if wants_pairs else ("single texts", "a pair of texts")
            raise InputError(f"this model was trained on {takes}, got {got} as number {number}: {repr(value)[:60]}")
        found.append(value if isinstance(value, str) else (value[0], value[1]))
    return found


class TextColumns(TypedDict):
    """What a prediction says of its input: the text, of a pair the second one too."""

    text: str
    text_pair: NotRequired[str]


def columns_of(texts: Texts) -> TextColumns:
    """Return what a prediction says of its input: a text, or both of a pair."""
    return {"text": texts} if isinstance(texts, str) else {"text": texts[0], "text_pair": texts[1]}


def encode_texts(tokenizer: Tokenizer, texts: Sequence[Texts], model: Any, part: str = "") -> list[EncodedText]:
    """Return texts, or pairs, between the begin and end tokens, cut to the context length; how many were cut is said.

    Between the two texts of a pair stand as many end tokens as the model is used to. Of a pair that is too long the longer
    text is cut, down to the length of the other, and then both, as Transformers does by longest_first. `part` is what they
    are, "training" or "held-out". Raises InputError where the context has no room for a token of each, and where nothing
    tells the two apart.
    """
    longest = model.config.max_seq_len
    pairs = [pair for pair in texts if not isinstance(pair, str)]
    if pairs and getattr(tokenizer, "eos_id", None) is None and not model.backbone.takes_segments:
        raise InputError(
            "pairs of texts need a tokenizer with an eos_id to stand between them, or a model with segments"
        )
    whole = framed(tokenizer, [text for text in texts if isinstance(text, str)], longest, part)
    joined = [_joined(tokenizer, pair, longest, model.backbone.separators) for pair in pairs]
    say_cut(sum(is_cut for _, is_cut in joined), len(pairs), f"{part} pairs".lstrip(), longest)
    singles, found = iter(whole), iter(joined)
    return [EncodedText(next(singles)) if isinstance(text, str) else next(found)[0] for text in texts]


def _joined(tokenizer: Tokenizer, pair: tuple[str, str], max_seq_len: int, separators: int) -> tuple[EncodedText, bool]:
    first, second = (encode_tokens(tokenizer, text) for text in pair)
    begin, end = special_row(tokenizer, "bos_id", first), special_row(tokenizer, "eos_id", first)
    room = max_seq_len - len(begin) - (separators + 1) * len(end)
    if room < 2:
        raise InputError(f"max_seq_len={max_seq_len} leaves no room for two texts")
    sizes = shares(len(first), len(second), room)
    kept = [cut(tokenizer, *each) for each in zip(pair, (first, second), sizes, strict=True)]
    head = np.concatenate([begin, kept[0], *[end] * separators])
    is_cut = len(kept[0]) < len(first) or len(kept[1]) < len(second)
    return EncodedText(np.concatenate([head, kept[1], end]), len(head)), is_cut


def shares(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many of `room` tokens each of two texts gets, the longer one cut first; the longer has an odd one."""
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)


def collate_texts(tokenizer: Tokenizer, texts: Sequence[EncodedText]) -> tuple[np.ndarray, ...]:
    """Return tokens [B T] (or features [B T C]) and their mask [B T], and where there are pairs their segments [B T]."""
    tokens, mask = padded([text.tokens for text in texts], pad_id(tokenizer))
    if all(text.second is None for text in texts):
        return tokens, mask
    return tokens, mask, padded([text.segments for text in texts], 0)[0]
