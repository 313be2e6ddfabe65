"""The settings that sampling and beam search share: what the logits of a next token go through before one is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from numformer.errors import InputError


class RuleSettings(TypedDict, total=False):
    """The fields of Rules, as keywords."""

    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    no_repeat_ngram_size: int
    min_new_tokens: int
    bad_words: tuple[str | tuple[int, ...], ...]
    logit_bias: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What changes or forbids next tokens; `numformer.generation.logits` says in which order. All are off by default.

    Raises InputError for a value outside its range.
    """

    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were already seen, in the prompt too, less probable (1: off)."""
    frequency_penalty: float = 0.0
    """Taken from the logit of a token for each time that it was written (0: off)."""
    presence_penalty: float = 0.0
    """Taken from the logit of a token that was written at all (0: off)."""
    no_repeat_ngram_size: int = 0
    """So many tokens in a row never come twice, those of the prompt included (0: off)."""
    min_new_tokens: int = 0
    """Tokens to write before an end token may come."""
    bad_words: tuple[str | tuple[int, ...], ...] = ()
    """Words that are not written: texts, or lists of token ids."""
    logit_bias: dict[int, float] = field(default_factory=dict)
    """Numbers to add to the logits of tokens, by id; -inf forbids a token."""

    def __post_init__(self) -> None:
        for name in ("repetition_penalty", "frequency_penalty", "presence_penalty"):
            check_number(self, name)
        check_ranges(
            self,
            {
                "repetition_penalty": (0 < self.repetition_penalty < math.inf, "a finite number above 0"),
                "frequency_penalty": (math.isfinite(self.frequency_penalty), "a finite number"),
                "presence_penalty": (math.isfinite(self.presence_penalty), "a finite number"),
                "no_repeat_ngram_size": (_is_whole(self.no_repeat_ngram_size), "a whole number of at least 0"),
                "min_new_tokens": (_is_whole(self.min_new_tokens), "a whole number of at least 0"),
                "bad_words": (_are_words(self.bad_words), "a list of texts or lists of token ids, none of them empty"),
                "logit_bias": (_is_bias(self.logit_bias), "finite numbers, or -inf, by token ids"),
            },
        )
        words = tuple(word if isinstance(word, str) else tuple(map(int, word)) for word in self.bad_words)
        object.__setattr__(self, "bad_words", words)


def check_number(config: Any, name: str) -> None:
    """Raise InputError when a field is no number."""
    if isinstance(value := getattr(config, name), bool) or not isinstance(value, (int, float, np.number)):
        raise InputError(f"{name} must be a number, got {value!r}")


def check_ranges(config: Any, ranges: Mapping[str, tuple[bool, str]]) -> None:
    """Raise InputError for the first field that is not what it should be."""
    for name, (holds, expected) in ranges.items():
        if not holds:
            raise InputError(f"got {name}={getattr(config, name)}, expected {expected}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) >= 0


def _are_words(words: Any) -> bool:
    return isinstance(words, (list, tuple)) and all(
        word and all(map(_is_whole, word)) if isinstance(word, (list, tuple)) else isinstance(word, str) and word
        for word in words
    )


def _is_bias(bias: Any) -> bool:
    return isinstance(bias, Mapping) and all(
        _is_whole(token) and isinstance(value, (int, float, np.number)) and value < math.inf
        for token, value in bias.items()
    )
