"""Texts with one number each, as in regression."""

import math
from pathlib import Path

from numformer.data.labelled import DELIMITERS, Column, rows_of_table
from numformer.data.lines import check_text
from numformer.errors import InputError


def read_valued(
    path: str | Path, *, text: str | None = None, value: str | None = None, encoding: str = "utf-8"
) -> list[tuple[str, float]]:
    """Return texts and their numbers from a .csv or .tsv file with a header, or a .jsonl file.

    `text` and `value` name the columns, by default "text" and "value"; when one of these two is missing among exactly two
    columns, the other column is taken. Raises InputError, naming the line, for what cannot be read so, for a blank text, and
    for a value that is no finite number.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if path.suffix.lower() not in (*DELIMITERS, ".jsonl"):
        raise InputError(f"texts with numbers come in a .csv, .tsv or .jsonl file, got {path}")
    column = Column("value", value, (str, int, float), "a number")
    rows = rows_of_table(path, column, text, encoding)
    found = [(check_text(one_text, "the text", where), _number(str(number), where)) for where, one_text, number in rows]
    if not found:
        raise InputError(f"{path} holds no texts with numbers")
    return found


def _number(text: str, where: str) -> float:
    try:
        number = math.nan if "_" in text else float(text)  # Python reads 1_000; nobody writes it in a table
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: the value must be a finite number, got {text[:60]!r}")
    return number
