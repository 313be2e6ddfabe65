"""A text file of any size as chunks of text, and as one array of tokens."""

import codecs
import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer, encode_text, token_dtype

CHUNK_BYTES = 1 << 20


def read_text_chunks(path: str | Path) -> Iterator[str]:
    """Yield a UTF-8 file's text in chunks of about a megabyte, newlines unchanged, a leading byte order mark dropped.

    Raises InputError when the file is missing, empty, a folder, or not UTF-8 (naming the offset of the bad byte).
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for data in chain(_read_chunks(path), [b""]):
        start = offset - len(decoder.getstate()[0])  # the last chunk may have ended inside a character
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at offset {start + error.start} "
                "fits nowhere; convert the file, or take its bytes as they are with --tokenizer bytes"
            ) from error
        if offset == 0:
            text = text.removeprefix("\ufeff")
        if text:
            yield text
        offset += len(data)


def count_text(path: str | Path) -> tuple[int, int]:
    """Return the number of characters and of lines of a UTF-8 file of any size; raises InputError when it cannot be read."""
    characters = lines = 0
    last = b"\n"
    for data in _read_chunks(path):
        # Every byte of UTF-8 begins a character but those from 0x80 to 0xBF.
        characters += int(np.count_nonzero(np.frombuffer(data, np.uint8) & 0xC0 != 0x80))
        lines, last = lines + data.count(b"\n"), data[-1:]
    return characters, lines + (last != b"\n")


def encode_file(path: str | Path, tokenizer: Tokenizer) -> NDArray[Any]:
    """Encode a text file of any size into an array [N] that lies on disk, in a nameless temporary file.

    The array is read-only, of the smallest unsigned type that fits the vocabulary. The text is encoded in pieces cut
    between lines, so `tokenizer.encode` must not add special tokens. A ByteTokenizer gets the file's bytes as they
    are, UTF-8 or not. Raises InputError as read_text_chunks does, and for text the tokenizer cannot encode.
    """
    try:
        with tempfile.TemporaryFile() as file:
            for ids in _encode_pieces(path, tokenizer):
                file.write(ids.tobytes())
            if file.tell() == 0:
                raise InputError(f"{path} holds no text")
            file.flush()
            return np.asarray(np.memmap(file, token_dtype(tokenizer.vocab_size), mode="r"))
    except OSError as error:
        raise InputError(f"could not keep the tokens of {path} in {tempfile.gettempdir()}: {error.strerror}") from error


def _read_chunks(path: str | Path) -> Iterator[bytes]:
    try:
        with Path(path).open("rb") as file:
            data = file.read(CHUNK_BYTES)
            if not data:
                raise InputError(f"{path} is empty")
            while data:
                yield data
                data = file.read(CHUNK_BYTES)
    except OSError as error:
        raise InputError(f"could not read {path}: {error.strerror}") from error


def _encode_pieces(path: str | Path, tokenizer: Tokenizer) -> Iterator[NDArray[Any]]:
    if isinstance(tokenizer, ByteTokenizer):
        yield from map(tokenizer.encode, _read_chunks(path))
        return
    pieces = read_text_chunks(path)
    if not isinstance(tokenizer, CharacterTokenizer):
        pieces = _cut_between_lines(pieces)
    position = 0
    for piece in pieces:
        try:
            ids = encode_text(tokenizer, piece)
        except InputError as error:
            where = f", after its first {position} characters" if position else ""
            raise InputError(f"{path}{where}: {error}") from error
        yield ids
        position += len(piece)


# A newline with text on both sides: no usual word or subword reaches across it, as one may across a run of newlines.
_BETWEEN_LINES = re.compile(r"(?s).*\S\r?\n(?=\S)")


def _cut_between_lines(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the same text cut between lines, or after a run of newlines, or anywhere when it has no newline."""
    rest = ""
    for chunk in chunks:
        text = rest + chunk
        match = _BETWEEN_LINES.match(text)
        cut = match.end() if match else text.rfind("\n") + 1 or len(text)
        yield text[:cut]
        rest = text[cut:]
    if rest:
        yield rest
