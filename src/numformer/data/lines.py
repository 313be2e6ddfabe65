"""The lines of a text file: line ends, byte order marks, compression, and what to say of bytes that are no text."""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO

from numformer.errors import InputError

CHUNK = 1 << 13  # characters; the first line feed is nearly always in the first of them
SAMPLE = 1 << 10  # bytes that tell UTF-16
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
    with one_sentence(path, encoding):
        encoding = encoding_of(path, encoding)
    with one_sentence(path, encoding):
        newline = "\n" if _has_line_feed(path, encoding, errors) else "\r"
        with Path(path).open("rb") as raw, _text(raw, path, encoding, errors, newline) as file:
            first = file.readline().removeprefix("\ufeff")
            if not first:
                raise InputError(f"{path} is empty")
            done = 0
            for line in chain([first], file):
                if advance is not None and raw.tell() > done:
                    advance(raw.tell() - done)
                    done = raw.tell()
                yield _without_end(line, newline)


@contextmanager
def one_sentence(path: str | Path, encoding: str) -> Iterator[None]:
    """Turn what may happen while a file is read into an InputError."""
    if "\0" in str(path):
        raise InputError(f"no file can be called {str(path)!r}")
    try:
        yield
    except OSError as error:
        raise InputError(f"could not read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"could not read {path}: the compressed file is damaged ({error})") from None
    except LookupError:
        raise InputError(f"there is no text encoding {encoding!r}; usual ones are {USUAL_ENCODINGS}") from None
    except UnicodeError:
        raise InputError(_bad_byte(path, encoding)) from None


def encoding_of(path: str | Path, encoding: str = "utf-8") -> str:
    """Return the encoding that a file's byte order mark says, or else the one that was asked for.

    Raises InputError for UTF-16 without a mark, which its zero bytes show, when another encoding was asked for, and
    LookupError for one that does not exist.
    """
    " ".encode(encoding)  # complains of hex too, which is no encoding of text
    with open_bytes(path) as file:
        sample = file.read(SAMPLE)
    for mark, marked in BYTE_ORDER_MARKS.items():
        if sample.startswith(mark):
            return marked
    unmarked = _unmarked_utf16(sample)
    if unmarked and not codecs.lookup(encoding).name.startswith((unmarked, "utf-32")):
        raise InputError(f"{path} looks like UTF-16 without a byte order mark; try --encoding {unmarked}")
    return encoding


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text that is all there, such as standard input, by the rule of `read_lines`."""
    newline = "\n" if "\n" in text else "\r"
    lines = text.removeprefix("\ufeff").split(newline)
    return [_without_end(line, newline) for line in (lines if lines[-1] else lines[:-1])]


@contextmanager
def open_bytes(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed where its name ends in .gz."""
    with Path(path).open("rb") as raw, _decompressed(raw, path) as file:
        yield file


def suffix_of(path: str | Path) -> str:
    """Return the suffix that says what a file holds, in lower case: ".csv" of "a.CSV" and of "a.csv.gz"."""
    path = Path(path)
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _text(raw: IO[bytes], path: str | Path, encoding: str, errors: str, newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_decompressed(raw, path), encoding, errors, newline)


def _decompressed(raw: IO[bytes], path: str | Path) -> IO[bytes]:
    return gzip.GzipFile(fileobj=raw) if Path(path).suffix.lower() == ".gz" else raw  # type: ignore[return-value]


def _unmarked_utf16(sample: bytes) -> str | None:
    """Return the UTF-16 in which every other byte is a zero, as it is in the Western letters, line ends and delimiters."""
    first, second = sample[0::2].count(0), sample[1::2].count(0)
    if min(first, second) > 0 or max(first, second) <= 1 + len(sample) // 6:
        return None
    return "utf-16-le" if second else "utf-16-be"


def _has_line_feed(path: str | Path, encoding: str, errors: str) -> bool:
    """Tell whether a file has a line feed; most have one in the first chunk, and no more is read then."""
    with Path(path).open("rb") as raw, _text(raw, path, encoding, errors, "") as file:
        return any("\n" in chunk for chunk in iter(lambda: file.read(CHUNK), ""))


def _without_end(line: str, newline: str) -> str:
    r"""Return a line without its end; of \r\r\n, one \r is text."""
    return line.removesuffix(newline).removesuffix("\r") if newline == "\n" else line.removesuffix(newline)


def _bad_byte(path: str | Path, encoding: str) -> str:
    """Say which byte does not fit, in which line, and which encoding may; the file is read once more for it."""
    feeds = returns = 0
    # suppressed: what encodings such as idna or undefined say of any text, and a compressed file that is damaged later on
    with suppress(UnicodeError, OSError, EOFError, zlib.error), open_bytes(path) as file:
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            data = file.read(1 << 16)
            try:
                text, bad = decoder.decode(data, final=not data), None
            except UnicodeDecodeError as error:
                text = decoder.decode(data[: max(0, error.start - len(decoder.getstate()[0]))])
                bad = error.object[error.start]
            feeds, returns = feeds + text.count("\n"), returns + text.count("\r")
            if bad is not None:
                hint = likely_encoding(data) if codecs.lookup(encoding).name == "utf-8" else "utf-8"
                line = 1 + (feeds or returns)
                return f"{path}, line {line}: byte 0x{bad:02x} is not {encoding} text; try --encoding {hint}"
            if not data:
                break
    return f"{path} is not {encoding} text"


def likely_encoding(data: bytes) -> str:
    """Return what bytes that are not UTF-8 are probably written in: Windows' Western code page, or else Latin-1."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
