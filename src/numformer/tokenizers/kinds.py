"""The tokenizers known by name."""

from collections.abc import Iterable
from pathlib import Path

from numformer.errors import InputError
from numformer.tokenizers.base import Tokenizer
from numformer.tokenizers.bytes import ByteTokenizer
from numformer.tokenizers.characters import CharacterTokenizer
from numformer.tokenizers.saved import load_tokenizer
from numformer.tokenizers.subwords import SubwordTokenizer
from numformer.tokenizers.words import WordTokenizer

KINDS = ("characters", "bytes", "bpe", "wordpiece", "unigram", "words")


def make_tokenizer(kind: str | Path | Tokenizer, texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Return the tokenizer that `kind` asks for: one of KINDS, a saved tokenizer's folder or file, or an object as it is.

    Those that learn from texts learn from `texts`; `vocab_size` is for all of them but characters and bytes. Raises
    InputError when there is no such kind, folder or file, and as the tokenizers do.
    """
    match kind:
        case "characters":
            return CharacterTokenizer.from_text(texts, special_tokens=True)
        case "bytes":
            return ByteTokenizer()
        case "bpe" | "wordpiece" | "unigram":
            return SubwordTokenizer.train(kind, texts, vocab_size)
        case "words":
            return WordTokenizer.train(texts, vocab_size)
        case str() | Path():
            if not _exists(Path(kind)):
                raise InputError(
                    f"got the tokenizer {str(kind)[:80]!r}, expected {', '.join(KINDS)}, "
                    "or the folder or file of a saved tokenizer"
                )
            return load_tokenizer(kind)
    return kind


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # No file can have such a name.
        return False
