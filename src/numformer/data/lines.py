"""Lines of a text file, and JSON objects one to a line."""

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numformer.errors import InputError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def read_lines(path: str | Path, encoding: str = "utf-8") -> Iterator[str]:
    r"""Yield a file's lines without their ends, which are \n, \r\n and \r alone; a leading byte order mark is dropped.

    Raises InputError when the file is missing, empty, a folder, or not in the encoding (naming the bad byte's line),
    and for an encoding that does not exist.
    """
    if "\0" in str(path):
        raise InputError(f"no file can be called {str(path)!r}")
    try:
        with Path(path).open(encoding=encoding) as file:  # turns every line end into \n
            first = file.readline().removeprefix("\ufeff")
            if not first:
                raise InputError(f"{path} is empty")
            yield first.removesuffix("\n")
            for line in file:
                yield line.removesuffix("\n")
    except OSError as error:
        raise InputError(f"could not read {path}: {error.strerror}") from error
    except LookupError:
        raise InputError(f"there is no text encoding {encoding!r}; usual ones are utf-8, latin-1, cp1252") from None
    except UnicodeError:
        raise InputError(_bad_byte(path, encoding)) from None


def read_json_lines(path: str | Path, encoding: str = "utf-8") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file, each with the file and line it stands in; blank lines are left out.

    Raises InputError as read_lines does, and for a line that is not a JSON object.
    """
    for number, line in enumerate(read_lines(path, encoding), 1):
        if line.strip():
            row = parse_json(line, path, number)
            where = f"{path}, line {number}"
            if not isinstance(row, dict):
                raise InputError(f"{where}: expected a JSON object, got {json_kind(row)}")
            yield where, row


def parse_json(text: str | bytes, path: str | Path, first_line: int = 1) -> Any:
    """Return what a JSON text says; raises InputError that names the file and line of a mistake in it."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise InputError(f"{path}, line {line}: not valid JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # bytes that are no text, an endless number, endless nesting
        raise InputError(f"{path}, line {first_line}: not readable as JSON ({error})") from None


def json_kind(value: object) -> str:
    """Return what JSON calls the type of a value, with its article."""
    return _JSON_KINDS[type(value)]


def json_field(row: dict[str, Any], key: str, where: str) -> Any:
    """Return a field of a JSON object; raises InputError that lists the keys when it is missing."""
    if key not in row:
        listed = textwrap.shorten(", ".join(map(repr, row)), 200) or "none"
        raise InputError(f"{where}: there is no {key!r} (the keys are {listed})")
    return row[key]


def check_text(value: object, name: str, where: str) -> str:
    """Return a value when it is text to learn from; raises InputError for another type, blanks, and broken Unicode."""
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be text, got {json_kind(value)}")
    if not value.strip():
        raise InputError(f"{where}: {name} is blank")
    if match := _LONE_SURROGATE.search(value):
        raise InputError(f"{where}: {name} holds half a surrogate pair ({match[0]!a}), which is no character")
    return value


def check_known(label: str, known: Sequence[str] | None, what: str, where: str) -> str:
    """Return a label (or tag, as `what` says); raises InputError when it is not among the known ones, None being any."""
    if known is not None and label not in known:
        more = ", …" if len(known) > 10 else ""
        raise InputError(
            f"{where}: the {what} {label!r} is not among the {len(known)} {what}s of the model "
            f"({', '.join(known[:10])}{more})"
        )
    return label


def wrong_columns(got: int, expected: str, where: str) -> InputError:
    """Return the error for a row of a table that has more or fewer columns than expected."""
    return InputError(f"{where}: got {got} column{'s' * (got != 1)}, expected {expected}")


def _bad_byte(path: str | Path, encoding: str) -> str:
    """Say which byte does not fit; the error of an open file counts from the start of a block only."""
    data = Path(path).read_bytes()
    with suppress(UnicodeError):  # what an encoding such as idna or undefined says of any text
        try:
            data.decode(encoding)
        except UnicodeDecodeError as error:
            before, byte = data[: error.start], data[error.start]
            line = len(re.findall(r"\r\n?|\n", before.decode(encoding, "ignore"))) + 1
            hint = "utf-16" if not before and byte in (0xFE, 0xFF) else "latin-1"  # UTF-16 files begin with such a byte
            hint = hint if encoding.lower() in ("utf-8", "utf8") else "utf-8"
            return f"{path}, line {line}: byte 0x{byte:02x} is not {encoding} text; try --encoding {hint}"
    return f"{path} is not {encoding} text"
