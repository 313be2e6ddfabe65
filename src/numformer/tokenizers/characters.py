"""One token per character."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from numformer._notices import amount
from numformer.errors import InputError
from numformer.tokenizers.base import SPECIAL_TOKENS, TokenIds, check_ids, code_points, token_dtype
from numformer.tokenizers.tokenizer_json import layout, special_token, write_tokenizer_json


class CharacterTokenizer:
    """Maps the characters of a fixed alphabet to 0, 1, 2, ... in the order given.

    With `special_tokens`, the ids after the last character are PAD, BOS, EOS, UNK and MASK, and a character outside
    the alphabet is UNK. Raises InputError when `characters` is empty or names a character twice. Use `from_text` to
    take the alphabet from a text.
    """

    SPECIAL_TOKENS: ClassVar[tuple[str, ...]] = SPECIAL_TOKENS

    PRE_TOKENIZER: ClassVar[dict[str, Any]] = {
        "type": "Split",
        "pattern": {"Regex": r"[\s\S]"},
        "behavior": "Isolated",
        "invert": False,
    }
    DECODER: ClassVar[dict[str, Any]] = {"type": "Fuse"}

    pad_id: int | None = None
    bos_id: int | None = None
    eos_id: int | None = None
    unk_id: int | None = None
    mask_id: int | None = None

    def __init__(self, characters: str, special_tokens: bool = False) -> None:
        if not characters:
            raise InputError("a character tokenizer needs at least one character, got an empty text")
        if len(set(characters)) < len(characters):
            raise InputError(f"a character tokenizer needs distinct characters, got {characters[:80]!r}")
        self.characters = characters
        self.special_tokens = self.SPECIAL_TOKENS if special_tokens else ()
        if special_tokens:
            size = len(characters)
            self.pad_id, self.bos_id, self.eos_id, self.unk_id, self.mask_id = range(size, size + 5)
        self._codes = code_points(characters)
        # One entry past the largest code point stays unknown, and lookups beyond the table are clipped to it.
        unknown = -1 if self.unk_id is None else self.unk_id
        self._ids = np.full(int(self._codes.max()) + 2, unknown, dtype=np.int32)
        self._ids[self._codes] = np.arange(len(characters))

    @classmethod
    def from_text(cls, text: str | Iterable[str], special_tokens: bool = False) -> "CharacterTokenizer":
        """Build the tokenizer whose alphabet is the sorted distinct characters of a text or of its chunks."""
        chunks = [text] if isinstance(text, str) else text
        return cls("".join(sorted({character for chunk in chunks for character in set(chunk)})), special_tokens)

    @property
    def vocab_size(self) -> int:
        """The number of characters and special tokens."""
        return len(self.characters) + len(self.special_tokens)

    def encode(self, text: str) -> NDArray[Any]:
        """Return the id of each character, an unsigned integer array [N].

        Raises InputError for a character outside the alphabet when there are no special tokens.
        """
        ids = self._ids.take(code_points(text), mode="clip")
        unknown = ids < 0
        if unknown.any():
            position = int(unknown.argmax())
            raise InputError(
                f"the character {text[position]!r} at position {position} is not among the "
                f"{amount(len(self.characters), 'characters')} of the vocabulary"
            )
        return ids.astype(token_dtype(self.vocab_size))

    def encode_spans(self, text: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the ids [N] of a text and the span [N 2] of each: character i is at (i, i + 1)."""
        starts = np.arange(len(text))
        return self.encode(text), np.stack([starts, starts + 1], axis=1)

    def decode(self, ids: TokenIds) -> str:
        """Return the text of token ids [N], leaving out special tokens.

        Raises InputError for ids outside the vocabulary.
        """
        array = check_ids(ids, self.vocab_size)
        codes = self._codes[array[array < len(self.characters)]]
        return str(codes.tobytes(), "utf-32-le", "surrogatepass")

    def to_json(self) -> dict[str, Any]:
        """Return the content of this tokenizer's tokenizer.json."""
        vocab = {token: i for i, token in enumerate([*self.characters, *self.special_tokens])}
        # WordLevel insists on an unknown token, also where there is none.
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
        added_tokens = [special_token(vocab[name], name) for name in self.special_tokens]
        return layout(model, self.PRE_TOKENIZER, self.DECODER, added_tokens)

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json into the folder `path`, or to `path` itself when it ends in .json."""
        write_tokenizer_json(path, self.to_json())

    def __repr__(self) -> str:
        special = f" and {len(self.special_tokens)} special tokens" if self.special_tokens else ""
        return f"CharacterTokenizer({amount(len(self.characters), 'characters')}{special})"
