"""A text file of any size as chunks of text, and as one array of tokens."""

import codecs
import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from numformer.data.files.lines import decoding, encoding_of, likely_encoding, open_bytes
from numformer.errors import InputError
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer, encode_text, token_dtype

CHUNK_BYTES = 1 << 20


def read_text_chunks(path: str | Path, encoding: str = "utf-8") -> Iterator[str]:
    """Yield a file's text in chunks of about a megabyte, newlines unchanged, a leading byte order mark dropped.

    The mark decides for UTF-16; a file that ends in .gz is decompressed. Raises InputError when the file is missing, empty, a
    folder, not in the encoding (naming the offset of the bad byte), or holds a NUL character.
    """
    with open_bytes(path) as file:
        encoding = encoding_of(file, path, encoding)
        with decoding(file, path, encoding):
            yield from _decoded(file, path, encoding)


def _decoded(file: BinaryIO, path: str | Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = position = 0
    for data in chain(_chunks_of(file, path), [b""]):
        start = offset - len(decoder.getstate()[0])  # the last chunk may have ended inside a character
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise InputError(_bad_byte(path, encoding, error, start)) from error
        if offset == 0:
            text = text.removeprefix("\ufeff")
        if (found := text.find("\0")) >= 0:
            raise InputError(
                f"{path} holds a NUL character after its first {position + found} characters, which is no text; "
                "take its bytes as they are with --tokenizer bytes"
            )
        if text:
            yield text
        offset, position = offset + len(data), position + len(text)


def _bad_byte(path: str | Path, encoding: str, error: UnicodeDecodeError, start: int) -> str:
    """Say which byte does not fit, and what to do; `start` is the offset of the bytes that the error speaks of."""
    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    named, hint = ("UTF-8", likely_encoding(error.object)) if is_utf8 else (encoding, "utf-8")
    return (
        f"{path} is not {named} text: byte 0x{error.object[error.start]:02x} at offset {start + error.start} "
        f"fits nowhere; try --encoding {hint}, or take its bytes as they are with --tokenizer bytes"
    )


def count_text(path: str | Path, tokenizer: Tokenizer, encoding: str = "utf-8") -> tuple[int, int]:
    """Return the number of characters and of lines of a file of any size, which a ByteTokenizer takes for UTF-8.

    Raises InputError as read_text_chunks does.
    """
    pieces: Iterator[str] = (
        codecs.iterdecode(_read_chunks(path), "utf-8", "replace")
        if isinstance(tokenizer, ByteTokenizer)
        else read_text_chunks(path, encoding)
    )
    characters, lines, last = 0, 0, "\n"
    for piece in pieces:
        characters, lines, last = characters + len(piece), lines + piece.count("\n"), piece[-1:]
    return characters, lines + (last != "\n")


def encode_file(path: str | Path, tokenizer: Tokenizer, encoding: str = "utf-8") -> NDArray[Any]:
    """Encode a text file of any size into an array [N] that lies on disk, in a nameless temporary file.

    The array is read-only, of the smallest unsigned type that fits the vocabulary. The text is encoded in pieces cut
    between lines, so `tokenizer.encode` must not add special tokens. A ByteTokenizer gets the file's bytes as they
    are, whatever they are. Raises InputError as read_text_chunks does, and for text the tokenizer cannot encode.
    """
    try:
        with tempfile.TemporaryFile() as file:
            for ids in _encode_pieces(path, tokenizer, encoding):
                file.write(ids.tobytes())
            if file.tell() == 0:
                raise InputError(f"{path} holds no text")
            file.flush()
            return np.asarray(np.memmap(file, token_dtype(tokenizer.vocab_size), mode="r"))
    except OSError as error:
        raise InputError(f"could not keep the tokens of {path} in {tempfile.gettempdir()}: {error.strerror}") from error


def _read_chunks(path: str | Path) -> Iterator[bytes]:
    with open_bytes(path) as file:
        yield from _chunks_of(file, path)


def _chunks_of(file: BinaryIO, path: str | Path) -> Iterator[bytes]:
    data = file.read(CHUNK_BYTES)
    if not data:
        raise InputError(f"{path} is empty")
    while data:
        yield data
        data = file.read(CHUNK_BYTES)


def _encode_pieces(path: str | Path, tokenizer: Tokenizer, encoding: str) -> Iterator[NDArray[Any]]:
    if isinstance(tokenizer, ByteTokenizer):
        yield from map(tokenizer.encode, _read_chunks(path))
        return
    pieces = read_text_chunks(path, encoding)
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
