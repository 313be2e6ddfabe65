"""Saving a tokenizer beside a model, and finding out what kind was saved."""

import json
from pathlib import Path
from typing import Any, TypeAlias

from numformer.errors import InputError
from numformer.tokenizers.base import Savable, Tokenizer
from numformer.tokenizers.bytes import ByteTokenizer
from numformer.tokenizers.characters import CharacterTokenizer
from numformer.tokenizers.older_files import tokenizer_json_of
from numformer.tokenizers.subwords import SubwordTokenizer
from numformer.tokenizers.tokenizer_config import read_config
from numformer.tokenizers.tokenizer_json import read_tokenizer_json, tokenizer_file, tokenizers_library
from numformer.tokenizers.word_patterns import FIRST_PATTERN, spaced_word_pattern
from numformer.tokenizers.words import WordTokenizer

SavedTokenizer: TypeAlias = CharacterTokenizer | ByteTokenizer | WordTokenizer | SubwordTokenizer


def save_tokenizer(tokenizer: Tokenizer | Savable, path: str | Path) -> None:
    """Write a tokenizer, or a pair of them, into the folder `path`; raises InputError when it has no `save` method."""
    check_savable(tokenizer, path).save(path)


def check_savable(tokenizer: Tokenizer | Savable, path: str | Path) -> Savable:
    """Return the tokenizer; raises InputError, naming where it would be saved, when it has no `save` method."""
    if not isinstance(tokenizer, Savable):
        raise InputError(f"a {type(tokenizer).__name__} cannot be saved in {path}: it has no save(path) method")
    return tokenizer


def load_tokenizer(path: str | Path) -> SavedTokenizer:
    """Read the tokenizer of a folder, or of a file ending in .json.

    Folders of Hugging Face may have a tokenizer_config.json beside it, or older files in its place. Raises InputError, naming
    the file, when it is missing or damaged, and when it is of a kind that only the `tokenizers` package reads and that is
    missing or cannot read it.
    """
    file = tokenizer_file(path)
    config = read_config(file.parent) if file.name == "tokenizer.json" else {}
    if not file.exists() and (made := tokenizer_json_of(file.parent, config)):
        return _subwords(made, config, file.parent)
    content = read_tokenizer_json(path)
    match content:
        case {
            "normalizer": None,
            "pre_tokenizer": CharacterTokenizer.PRE_TOKENIZER,
            "added_tokens": list(added),
            "model": {"type": "WordLevel", "vocab": dict(vocab)},
        } if _names(added) in ((), CharacterTokenizer.SPECIAL_TOKENS):
            return _characters(vocab, _names(added), file)
        case {
            "normalizer": None,
            "pre_tokenizer": ByteTokenizer.PRE_TOKENIZER,
            "added_tokens": ByteTokenizer.SPECIAL_TOKENS,
            "model": {"type": "BPE", "vocab": ByteTokenizer.VOCAB, "merges": []},
        }:
            return ByteTokenizer()
        case {
            "pre_tokenizer": {"pattern": {"Regex": str(pattern)}},
            "model": {"type": "WordLevel", "vocab": dict(vocab), "num_buckets": int(num_buckets)},
        }:
            return _words(vocab, num_buckets, pattern, file)
    raw = file.read_bytes()  # as it is, so that it is saved again in the same bytes
    return _subwords(raw.decode(json.detect_encoding(raw)), config, file)


def _subwords(content: str, config: dict[str, Any], where: Path) -> SubwordTokenizer:
    tokenizers_library()
    try:
        return SubwordTokenizer(content, config=config)
    except InputError as error:
        raise InputError(
            f"the tokenizer {where} is of a kind that cannot be read: character and byte tokenizers saved by "
            f"numformer can, its word tokenizers, and what the tokenizers library reads ({error})"
        ) from error


def _names(added_tokens: list[Any]) -> tuple[Any, ...]:
    return tuple(token.get("content") if isinstance(token, dict) else None for token in added_tokens)


def _characters(vocab: dict[str, Any], special: tuple[str, ...], file: Path) -> CharacterTokenizer:
    tokens = _numbered(vocab)
    characters = tokens[: len(tokens) - len(special)]
    if not characters or [*characters, *special] != tokens or any(len(token) != 1 for token in characters):
        raise InputError(
            f"the vocabulary of the tokenizer {file} is damaged: it does not number single characters 0, 1, 2, ..."
        )
    return CharacterTokenizer("".join(characters), special_tokens=bool(special))


def _words(vocab: dict[str, Any], num_buckets: int, pattern: str, file: Path) -> WordTokenizer:
    tokens, special = _numbered(vocab), WordTokenizer.SPECIAL_TOKENS
    if tuple(tokens[: len(special)]) != special or num_buckets < 1:
        raise InputError(
            f"the vocabulary of the tokenizer {file} is damaged: it does not number {', '.join(special)} "
            "and words 0, 1, 2, ... before one bucket or more"
        )
    pattern = spaced_word_pattern() if pattern == FIRST_PATTERN else pattern
    return WordTokenizer(tokens[len(special) :], num_buckets, pattern)


def _numbered(vocab: dict[str, Any]) -> list[str]:
    """Return the tokens of a vocabulary in the order of their ids, or none unless the ids are 0, 1, 2, ..."""
    tokens = {i: token for token, i in vocab.items() if isinstance(i, int)}
    return [tokens[i] for i in range(len(vocab))] if tokens.keys() == set(range(len(vocab))) else []
