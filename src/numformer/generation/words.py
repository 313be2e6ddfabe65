"""Words that are not to be written, from texts to the token ids that rules know."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from numformer.errors import InputError
from numformer.generation.rules import Rules
from numformer.tokenizers import Tokenizer, encode_text

AnyRules = TypeVar("AnyRules", bound=Rules)


def with_word_ids(rules: AnyRules, tokenizer: Tokenizer) -> AnyRules:
    """Return rules whose bad words are all token ids: of a text those at the start of a text, and those after a space.

    A text may be cut into other tokens in the middle of a longer word; there it is not found. Raises InputError for a text
    that the tokenizer cannot encode.
    """
    words: list[str | tuple[int, ...]] = []
    for word in rules.bad_words:
        words += _ways_to_write(word, tokenizer) if isinstance(word, str) else [word]
    return dataclasses.replace(rules, bad_words=tuple(words)) if rules.bad_words else rules


def _ways_to_write(word: str, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    first = tuple(map(int, encode_text(tokenizer, word)))
    if not first:
        raise InputError(f"the bad word {word!r} has no tokens, so it cannot be kept from being written")
    try:
        after_space = tuple(map(int, encode_text(tokenizer, f" {word}")))
    except InputError:  # no text of this tokenizer has a space
        return [first]
    return [first] if after_space[-len(first) :] == first else [first, after_space]
