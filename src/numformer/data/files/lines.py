"""The lines of a text file: line ends, byte order marks, compression, and what to say of bytes that are no text."""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from numformer._notices import say
from numformer.errors import InputError

CHUNK = 1 << 13  # characters; the first line feed is nearly always in the first of them
SAMPLE = 1 << 16  # bytes that tell UTF-16 without a mark, and UTF-8
BYTE_ORDER_MARKS = {  # an unambiguous sign of what a file is written in; that of UTF-32 begins as that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
USUAL_ENCODINGS = "utf-8, utf-16, cp1252, latin-1"


def read_lines(
    path: str | Path,
    encoding: str = "utf-8",
    errors: str = "strict",
    advance: Callable[[int], None] | None = None,
) -> Iterator[str]:
    r"""Yield a file's lines without their ends, which are \n and \r\n, and \r where the file has no \n at all.

    A leading byte order mark is dropped, and decides for UTF-16; a file that ends in .gz is decompressed as it is read.
    `errors` is what Python's decoders take, and `advance` hears of the bytes of the file as they are read. Raises InputError
    when the file is missing, empty, a folder, or not in the encoding (naming the bad byte's line), and for an encoding that
    does not exist.
    """
    with open_bytes(path) as data:
        encoding = encoding_of(data, path, encoding)
        with decoding(data, path, encoding):
            newline = "\n" if _has_line_feed(data, encoding, errors) else "\r"
            file, position, done = io.TextIOWrapper(data, encoding, errors, newline), _position_in_file(data), 0
            first = file.readline().removeprefix("\ufeff")
            if not first:
                raise InputError(f"{path} is empty")
            for line in chain([first], file):
                if advance is not None and position() > done:
                    advance(position() - done)
                    done = position()
                yield _without_end(line, newline)


@contextmanager
def open_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that can be read more than once, decompressed where its name ends in .gz; a pipe is read whole.

    Raises InputError for what cannot be read, then and in the block.
    """
    if "\0" in str(path):
        raise InputError(f"no file can be called {str(path)!r}")
    try:
        with Path(path).open("rb") as file:
            source = file if file.seekable() else io.BytesIO(file.read())
            if Path(path).suffix.lower() != ".gz":
                yield source
            else:
                with gzip.GzipFile(fileobj=source) as data:
                    yield data  # type: ignore[misc]
    except OSError as error:
        raise InputError(f"could not read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"could not read {path}: the compressed file is damaged ({error})") from None


def encoding_of(data: BinaryIO, path: str | Path, encoding: str = "utf-8") -> str:
    """Return the encoding that the byte order mark of an open file says, or else the one that was asked for.

    Raises InputError for UTF-16 without a mark, which its zero bytes show, when another encoding was asked for, and for an
    encoding that does not exist.
    """
    with decoding(data, path, encoding):
        " ".encode(encoding)  # complains of hex too, which is no encoding of text
    sample = data.read(SAMPLE)
    data.seek(0)
    for mark, marked in BYTE_ORDER_MARKS.items():
        if sample.startswith(mark):
            return marked
    unmarked = _unmarked_utf16(sample)
    if unmarked and not codecs.lookup(encoding).name.startswith((unmarked, "utf-32")):
        raise InputError(f"{path} looks like UTF-16 without a byte order mark; try --encoding {unmarked}")
    if not codecs.lookup(encoding).name.startswith("utf") and _is_utf8(sample):
        misread = "é".encode().decode(encoding, "replace")
        say(
            f"{path} is valid UTF-8 and is read as {encoding}, so that é becomes {misread}; --encoding utf-8 reads it right"
        )
    return encoding


def _is_utf8(sample: bytes) -> bool:
    """Tell whether the beginning of a file has characters beyond ASCII, all of them UTF-8, as other encodings never have."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return not text.isascii()


@contextmanager
def decoding(data: BinaryIO, path: str | Path, encoding: str) -> Iterator[None]:
    """Turn what may happen while an open file is decoded into an InputError."""
    try:
        yield
    except LookupError:
        raise InputError(f"there is no text encoding {encoding!r}; usual ones are {USUAL_ENCODINGS}") from None
    except UnicodeError:
        data.seek(0)
        raise InputError(_bad_byte(data, path, encoding)) from None


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text that is all there, such as standard input, by the rule of `read_lines`."""
    newline = "\n" if "\n" in text else "\r"
    lines = text.removeprefix("\ufeff").split(newline)
    return [_without_end(line, newline) for line in (lines if lines[-1] else lines[:-1])]


def suffix_of(path: str | Path) -> str:
    """Return the suffix that says what a file holds, in lower case: ".csv" of "a.CSV" and of "a.csv.gz"."""
    return without_gz(path).suffix.lower()


def without_gz(path: str | Path) -> Path:
    """Return a path without the .gz of a compressed file."""
    path = Path(path)
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def _position_in_file(data: BinaryIO) -> Callable[[], int]:
    """Return what tells how many bytes of the file itself are read, of a compressed one too."""
    return getattr(data, "fileobj", data).tell


def _unmarked_utf16(sample: bytes) -> str | None:
    """Return the UTF-16 in which every other byte is a zero, as it is in the Western letters, line ends and delimiters."""
    first, second = sample[0::2].count(0), sample[1::2].count(0)
    if min(first, second) > 0 or max(first, second) <= 1 + len(sample) // 6:
        return None
    return "utf-16-le" if second else "utf-16-be"


def _has_line_feed(data: BinaryIO, encoding: str, errors: str) -> bool:
    """Tell whether an open file has a line feed; most have one in the first chunk, and no more is read then."""
    file = io.TextIOWrapper(data, encoding, errors, newline="")
    try:
        return any("\n" in chunk for chunk in iter(lambda: file.read(CHUNK), ""))
    finally:
        file.detach()
        data.seek(0)


def _without_end(line: str, newline: str) -> str:
    r"""Return a line without its end; of \r\r\n, one \r is text."""
    return line.removesuffix(newline).removesuffix("\r") if newline == "\n" else line.removesuffix(newline)


def _bad_byte(data: BinaryIO, path: str | Path, encoding: str) -> str:
    """Say which byte of an open file does not fit, in which line, and which encoding may."""
    feeds = returns = 0
    # suppressed: what encodings such as idna or undefined say of any text, and a compressed file that is damaged later on
    with suppress(UnicodeError, OSError, EOFError, zlib.error):
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            chunk = data.read(1 << 16)
            try:
                text, bad = decoder.decode(chunk, final=not chunk), None
            except UnicodeDecodeError as error:
                text = decoder.decode(chunk[: max(0, error.start - len(decoder.getstate()[0]))])
                bad = error.object[error.start]
            feeds, returns = feeds + text.count("\n"), returns + text.count("\r")
            if bad is not None:
                hint = likely_encoding(chunk) if codecs.lookup(encoding).name == "utf-8" else "utf-8"
                line = 1 + (feeds or returns)
                return f"{path}, line {line}: byte 0x{bad:02x} is not {encoding} text; try --encoding {hint}"
            if not chunk:
                break
    return f"{path} is not {encoding} text"


def likely_encoding(data: bytes) -> str:
    """Return what bytes that are not UTF-8 are probably written in: Windows' Western code page, or else Latin-1."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
