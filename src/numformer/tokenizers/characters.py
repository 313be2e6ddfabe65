"""One token per character."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.tokenizers.base import TokenIds, check_ids, token_dtype
from numformer.tokenizers.tokenizer_json import layout, write_tokenizer_json


class CharacterTokenizer:
    """Maps the characters of a fixed alphabet to 0, 1, 2, ... in the order given.

    Raises InputError when `characters` is empty or names a character twice. Use `from_text` to take the alphabet
    from a text.
    """

    PRE_TOKENIZER: ClassVar[dict[str, Any]] = {
        "type": "Split",
        "pattern": {"Regex": r"[\s\S]"},
        "behavior": "Isolated",
        "invert": False,
    }
    DECODER: ClassVar[dict[str, Any]] = {"type": "Fuse"}

    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None

    def __init__(self, characters: str) -> None:
        if not characters:
            raise InputError("a character tokenizer needs at least one character, got an empty text")
        if len(set(characters)) < len(characters):
            raise InputError(f"a character tokenizer needs distinct characters, got {characters[:80]!r}")
        self.characters = characters
        self._codes = _code_points(characters)
        # One entry past the largest code point stays -1, and lookups beyond the table are clipped to it.
        self._ids = np.full(int(self._codes.max()) + 2, -1, dtype=np.int32)
        self._ids[self._codes] = np.arange(len(characters))

    @classmethod
    def from_text(cls, text: str | Iterable[str]) -> "CharacterTokenizer":
        """Build the tokenizer whose alphabet is the sorted distinct characters of a text or of its chunks."""
        chunks = [text] if isinstance(text, str) else text
        return cls("".join(sorted({character for chunk in chunks for character in set(chunk)})))

    @property
    def vocab_size(self) -> int:
        """The number of characters."""
        return len(self.characters)

    def encode(self, text: str) -> NDArray[Any]:
        """Return the id of each character, an unsigned integer array [N].

        Raises InputError for a character outside the alphabet.
        """
        ids = self._ids.take(_code_points(text), mode="clip")
        unknown = ids < 0
        if unknown.any():
            position = int(unknown.argmax())
            raise InputError(
                f"the character {text[position]!r} at position {position} is not among the "
                f"{self.vocab_size} characters of the vocabulary"
            )
        return ids.astype(token_dtype(self.vocab_size))

    def decode(self, ids: TokenIds) -> str:
        """Return the text of token ids [N]; raises InputError for ids outside the vocabulary."""
        codes = self._codes[check_ids(ids, self.vocab_size)]
        return str(codes.tobytes(), "utf-32-le", "surrogatepass")

    def to_json(self) -> dict[str, Any]:
        """Return the content of this tokenizer's tokenizer.json."""
        vocab = {character: i for i, character in enumerate(self.characters)}
        # WordLevel insists on an unknown token; being longer than one character it never matches.
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
        return layout(model, self.PRE_TOKENIZER, self.DECODER)

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json into the folder `path`, or to `path` itself when it ends in .json."""
        write_tokenizer_json(path, self.to_json())

    def __repr__(self) -> str:
        return f"CharacterTokenizer({self.vocab_size} characters)"


def _code_points(text: str) -> NDArray[np.uint32]:
    # Lone surrogates are characters like any other here.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
