"""Saving a tokenizer beside a model, and finding out what kind was saved."""

from pathlib import Path
from typing import Any

from numformer.errors import InputError
from numformer.tokenizers.base import Tokenizer
from numformer.tokenizers.bytes import ByteTokenizer
from numformer.tokenizers.characters import CharacterTokenizer
from numformer.tokenizers.tokenizer_json import read_tokenizer_json, tokenizer_file


def save_tokenizer(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write a tokenizer into the folder `path`; raises InputError when it has no `save` method."""
    check_savable(tokenizer, path)
    tokenizer.save(path)  # type: ignore[attr-defined]


def check_savable(tokenizer: Tokenizer, path: str | Path) -> None:
    """Raise InputError when a tokenizer has no `save` method."""
    if not hasattr(tokenizer, "save"):
        raise InputError(f"a {type(tokenizer).__name__} cannot be saved in {path}: it has no save(path) method")


def load_tokenizer(path: str | Path) -> CharacterTokenizer | ByteTokenizer:
    """Read the tokenizer of a folder, or of a file ending in .json.

    Raises InputError, naming the file, when it is missing, damaged or of another kind.
    """
    match read_tokenizer_json(path):
        case {
            "normalizer": None,
            "pre_tokenizer": CharacterTokenizer.PRE_TOKENIZER,
            "added_tokens": [],
            "model": {"type": "WordLevel", "vocab": dict(vocab)},
        }:
            return CharacterTokenizer(_alphabet(vocab, tokenizer_file(path)))
        case {
            "normalizer": None,
            "pre_tokenizer": ByteTokenizer.PRE_TOKENIZER,
            "added_tokens": ByteTokenizer.SPECIAL_TOKENS,
            "model": {"type": "BPE", "vocab": ByteTokenizer.VOCAB, "merges": []},
        }:
            return ByteTokenizer()
    raise InputError(
        f"the tokenizer {tokenizer_file(path)} is of a kind that cannot be read: "
        "character and byte tokenizers saved by numformer can"
    )


def _alphabet(vocab: dict[str, Any], file: Path) -> str:
    numbered = {i: character for character, i in vocab.items() if isinstance(i, int) and len(character) == 1}
    if not vocab or numbered.keys() != set(range(len(vocab))):
        raise InputError(
            f"the vocabulary of the tokenizer {file} is damaged: it does not number single characters 0, 1, 2, ..."
        )
    return "".join(numbered[i] for i in range(len(vocab)))
