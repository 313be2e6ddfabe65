"""Rows of JSON, and what every reader of rows checks: text, and the number of columns."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numformer._notices import amount, listed
from numformer.data.files.examples import LeftOut
from numformer.data.files.lines import read_lines
from numformer.errors import InputError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_JSON_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def json_rows(path: str | Path, encoding: str = "utf-8") -> Iterator[tuple[str, dict[str, Any] | InputError]]:
    """Yield the objects of a JSON Lines file, or of one JSON array, each with the file and line or item it stands in.

    Blank lines are left out. What is no JSON object comes as the error that says so. Raises InputError as read_lines does,
    and for an array that cannot be read.
    """
    lines, at_start = enumerate(read_lines(path, encoding), 1), True
    for number, line in lines:
        if at_start and line.lstrip().startswith("["):
            yield from _array_rows("\n".join([line, *(rest for _, rest in lines)]), path, number)
        elif line.strip():
            at_start = False
            yield f"{path}, line {number}", _object(line, path, number)


def _array_rows(text: str, path: str | Path, first_line: int) -> Iterator[tuple[str, dict[str, Any] | InputError]]:
    for number, row in enumerate(parse_json(text, path, first_line), 1):
        where = f"{path}, item {number}"
        yield where, row if isinstance(row, dict) else _no_object(row, where)


def _object(line: str, path: str | Path, number: int) -> dict[str, Any] | InputError:
    try:
        row = parse_json(line, path, number)
    except InputError as error:
        return error
    return row if isinstance(row, dict) else _no_object(row, f"{path}, line {number}")


def _no_object(row: object, where: str) -> InputError:
    return InputError(f"{where}: expected a JSON object, got {json_kind(row)}")


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


def json_field(row: dict[str, Any], key: str, where: str, option: str = "") -> Any:
    """Return a field of a JSON object; raises InputError that lists the keys, and names the option that chooses another."""
    if key not in row:
        hint = f"; choose another with --{option}" if option else ""
        raise InputError(f"{where}: there is no {key!r} (the keys are {listed(row)}){hint}")
    return row[key]


def clean_text(value: object, name: str, where: str) -> str:
    """Return a field without the blanks around it; `name` is what it is called, such as "label".

    Raises LeftOut for a blank one (or null), and InputError for another type, a NUL, and broken Unicode.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise LeftOut(f"blank {name}")
    if not isinstance(value, str):
        raise InputError(f"{where}: the {name} must be text, got {json_kind(value)}")
    if "\0" in value:
        raise InputError(f"{where}: the {name} holds a NUL character, which is no text")
    if match := _LONE_SURROGATE.search(value):
        raise InputError(f"{where}: the {name} holds half a surrogate pair ({match[0]!a}), which is no character")
    return value.strip()


def are_clean(texts: Sequence[str]) -> bool:
    """Tell at once of many texts whether `clean_text` would take each of them as it is."""
    return all(text and text == text.strip() for text in texts) and not _NO_TEXT.search("\n".join(texts))


def joined_text(values: Iterable[object], name: str, where: str) -> str:
    """Return several fields as one text with spaces between; a field may be a list of texts, and blank ones are skipped.

    Raises LeftOut when all are blank, and InputError as `clean_text` does and for a list that holds anything but texts.
    """
    values = list(values)
    if len(values) == 1 and isinstance(values[0], str):  # nearly always
        return clean_text(values[0], name, where)
    texts = []
    for value in values:
        for part in value if isinstance(value, list) else [value]:
            if isinstance(value, list) and not isinstance(part, str):
                raise InputError(
                    f"{where}: the {name} must be text or a list of texts, got a list with {json_kind(part)}"
                )
            with suppress(LeftOut):
                texts.append(clean_text(part, name, where))
    if not texts:
        raise LeftOut(f"blank {name}")
    return " ".join(texts)


def wrong_columns(got: int, expected: str, where: str) -> InputError:
    """Return the error for a row of a table that has more or fewer columns than expected."""
    return InputError(f"{where}: got {amount(got, 'columns')}, expected {expected}")
