"""One token per byte of UTF-8, with four special tokens after the 256 bytes."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.tokenizers.base import TokenIds, check_ids, code_points
from numformer.tokenizers.tokenizer_json import layout, special_token, write_tokenizer_json


def _gpt2_alphabet() -> str:
    """Return the 256 printable characters that GPT-2 writes for the bytes 0..255.

    Visible Latin-1 characters stand for themselves; the others, in order, become U+0100, U+0101, ...
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return "".join(chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256))


class ByteTokenizer:
    """Maps byte b to id b; PAD, BOS, EOS and UNK are 256 to 259, so no text can collide with them.

    A text is encoded as UTF-8. Bytes that are not UTF-8 come back from `decode` as the surrogate escapes of PEP 383,
    which `encode` turns into the same bytes again.
    """

    VOCAB: ClassVar[dict[str, int]] = {character: byte for byte, character in enumerate(_gpt2_alphabet())}
    PRE_TOKENIZER: ClassVar[dict[str, Any]] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    DECODER: ClassVar[dict[str, Any]] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    SPECIAL_TOKENS: ClassVar[list[dict[str, Any]]] = [
        special_token(256 + i, content) for i, content in enumerate(["<|pad|>", "<|bos|>", "<|eos|>", "<|unk|>"])
    ]

    vocab_size = 260
    pad_id: int | None = 256
    bos_id: int | None = 257
    eos_id: int | None = 258
    unk_id: int | None = 259
    mask_id: int | None = 259  # No text has an unknown byte, so the id is free to stand for a masked token.

    def encode(self, text: str | bytes) -> NDArray[np.uint16]:
        """Return the bytes of a text as ids, an array [N].

        Raises InputError for a lone surrogate that is not an escaped byte.
        """
        data = _utf8(text) if isinstance(text, str) else text
        return np.frombuffer(data, dtype=np.uint8).astype(np.uint16)

    def encode_spans(self, text: str) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """Return the ids [N] of a text and, for each, the span [N 2] of the character that its byte is part of."""
        ids = self.encode(text)
        codes = code_points(text)
        lengths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
        # Bytes that are not UTF-8 stand as surrogates, one for each byte.
        lengths[(codes >= 0xDC80) & (codes <= 0xDCFF)] = 1
        starts = np.repeat(np.arange(len(text)), lengths)
        return ids, np.stack([starts, starts + 1], axis=1)

    def decode(self, ids: TokenIds, errors: str = "surrogateescape") -> str:
        """Return the text of token ids [N], leaving out special tokens.

        `errors` says what becomes of bytes that are not UTF-8: "surrogateescape" keeps them, "replace" shows U+FFFD.
        Raises InputError for ids outside the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: TokenIds) -> bytes:
        """Return the bytes of token ids [N], leaving out special tokens."""
        array = check_ids(ids, self.vocab_size)
        return array[array < 256].astype(np.uint8).tobytes()

    def to_json(self) -> dict[str, Any]:
        """Return the content of this tokenizer's tokenizer.json.

        The `tokenizers` library reads a special token's name in a text ("<|bos|>") as that token; here it is text.
        """
        model: dict[str, Any] = {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": self.VOCAB,
            "merges": [],
        }
        return layout(model, self.PRE_TOKENIZER, self.DECODER, self.SPECIAL_TOKENS)

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json into the folder `path`, or to `path` itself when it ends in .json."""
        write_tokenizer_json(path, self.to_json())

    def __repr__(self) -> str:
        return "ByteTokenizer()"


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the character {text[error.start]!r} at position {error.start} is half of a surrogate pair, "
            "which has no bytes in UTF-8"
        ) from error
