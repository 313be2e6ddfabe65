"""The lines of a text file: line ends, byte order marks, compression, and what to say of bytes that are no text."""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from numformer.errors import InputError

CHUNK = 1 << 13  # characters; the first line feed is nearly always in the first of them
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # an unambiguous sign of what a file is written in
USUAL_ENCODINGS = "utf-8, utf-16, cp1252, latin-1"


def read_lines(path: str | Path, encoding: str = "utf-8") -> Iterator[str]:
    r"""Yield a file's lines without their ends, which are \n and \r\n, and \r where the file has no \n at all.

    A leading byte order mark is dropped, and decides for UTF-16; a file that ends in .gz is decompressed as it is read.
    Raises InputError when the file is missing, empty, a folder, or not in the encoding (naming the bad byte's line), and for
    an encoding that does not exist.
    """
    if "\0" in str(path):
        raise InputError(f"no file can be called {str(path)!r}")
    try:
        encoding = _marked_encoding(path) or encoding
        newline = "\n" if _has_line_feed(path, encoding) else "\r"
        with _open_text(path, encoding, newline) as file:
            first = file.readline().removeprefix("\ufeff")
            if not first:
                raise InputError(f"{path} is empty")
            yield _without_end(first, newline)
            for line in file:
                yield _without_end(line, newline)
    except OSError as error:
        raise InputError(f"could not read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"could not read {path}: the compressed file is damaged ({error})") from None
    except LookupError:
        raise InputError(f"there is no text encoding {encoding!r}; usual ones are {USUAL_ENCODINGS}") from None
    except UnicodeError:
        raise InputError(_bad_byte(path, encoding)) from None


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text that is all there, such as standard input, by the rule of `read_lines`."""
    newline = "\n" if "\n" in text else "\r"
    lines = text.removeprefix("\ufeff").split(newline)
    return [_without_end(line, newline) for line in (lines if lines[-1] else lines[:-1])]


def open_bytes(path: str | Path) -> IO[bytes]:
    """Open a file for reading, decompressed where its name ends in .gz."""
    return gzip.open(path, "rb") if Path(path).suffix.lower() == ".gz" else Path(path).open("rb")  # type: ignore[return-value]


def suffix_of(path: str | Path) -> str:
    """Return the suffix that says what a file holds, in lower case: ".csv" of "a.CSV" and of "a.csv.gz"."""
    path = Path(path)
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _open_text(path: str | Path, encoding: str, newline: str) -> IO[str]:
    if Path(path).suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding=encoding, newline=newline)
    return Path(path).open(encoding=encoding, newline=newline)


def _marked_encoding(path: str | Path) -> str | None:
    with open_bytes(path) as file:
        return BYTE_ORDER_MARKS.get(file.read(2))


def _has_line_feed(path: str | Path, encoding: str) -> bool:
    """Tell whether a file has a line feed; most have one in the first chunk, and no more is read then."""
    with _open_text(path, encoding, newline="") as file:
        return any("\n" in chunk for chunk in iter(lambda: file.read(CHUNK), ""))


def _without_end(line: str, newline: str) -> str:
    r"""Return a line without its end; of \r\r\n, one \r is text."""
    return line.removesuffix(newline).removesuffix("\r") if newline == "\n" else line.removesuffix(newline)


def _bad_byte(path: str | Path, encoding: str) -> str:
    """Say which byte does not fit, and which encoding may; the error of an open file counts from the start of a block."""
    with open_bytes(path) as file:
        data = file.read()
    with suppress(UnicodeError):  # what an encoding such as idna or undefined says of any text
        try:
            data.decode(encoding)
        except UnicodeDecodeError as error:
            before, byte = data[: error.start], data[error.start]
            line = len(re.findall(r"\r\n?|\n", before.decode(encoding, "ignore"))) + 1
            hint = _likely_encoding(data) if encoding.lower() in ("utf-8", "utf8") else "utf-8"
            return f"{path}, line {line}: byte 0x{byte:02x} is not {encoding} text; try --encoding {hint}"
    return f"{path} is not {encoding} text"


def _likely_encoding(data: bytes) -> str:
    """Return what bytes that are not UTF-8 are probably written in: Windows' Western code page, or else Latin-1."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
