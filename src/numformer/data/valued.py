"""Texts with one number each, as in regression."""

import math
from pathlib import Path

from numformer.data.examples import Examples, collect
from numformer.data.labelled import DELIMITERS, JSON, Column, rows_of_table
from numformer.data.lines import suffix_of
from numformer.data.rows import clean_text
from numformer.errors import InputError

ValuedText = tuple[str, float]


def read_valued(
    path: str | Path,
    *,
    text: str | None = None,
    value: str | None = None,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[ValuedText]:
    """Return texts with their numbers from a .csv or .tsv file with a header, or a .jsonl or .json file.

    `text` and `value` name the columns, by default "text" and "value"; when one of these two is missing among exactly two
    columns, the other column is taken. A blank text or value is left out and counted. Raises InputError, naming the line, for
    what cannot be read so, and for a value that is no finite number.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if suffix_of(path) not in (*DELIMITERS, *JSON):
        raise InputError(f"texts with numbers come in a .csv, .tsv, .jsonl or .json file, got {path}")

    def parse(where: str, row: tuple[object, object]) -> ValuedText:
        return clean_text(row[0], "text", where), _number(clean_text(row[1], "value", where), where)

    rows = rows_of_table(path, Column("value", value, (str, int, float), "a number"), text, encoding)
    found = collect(rows, parse, skip_bad=skip_bad)
    if not found:
        raise InputError(f"{path} holds no texts with numbers ({found.report()})")
    return found


def _number(text: str, where: str) -> float:
    try:
        number = math.nan if "_" in text else float(text)  # Python reads 1_000; nobody writes it in a table
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: the value must be a finite number, got {text[:60]!r}")
    return number
