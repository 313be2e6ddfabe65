"""Texts with one number each, as in regression."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from numformer.data.files.examples import Examples
from numformer.data.files.lines import suffix_of
from numformer.data.files.rows import clean_text, json_kind
from numformer.data.tables.columns import Texts, read_columns
from numformer.data.tables.reader import TABLES
from numformer.errors import InputError

ValuedText = tuple[Texts, float]


def read_valued(
    path: str | Path,
    *,
    text: str | Sequence[str] = (),
    value: str | None = None,
    pair: str | None = None,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[ValuedText]:
    """Return texts with their numbers from a .csv or .tsv file with a header, or a .jsonl or .json file.

    `text` and `value` name the columns, by default "text" and "value"; when one of these two is missing among exactly two
    columns, the other column is taken. Several columns of text are joined with a space. With `pair` the texts come in
    pairs, the second in that column. A blank text or value is left out
    and counted. Raises InputError, naming the line, for what cannot be read so, and for a value that is no finite number.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if suffix_of(path) not in TABLES:
        raise InputError(f"texts with numbers come in a .csv, .tsv, .jsonl or .json file, got {path}")

    found = read_columns(
        path, text, "value", value, _number, known=_is_number, pair=pair, encoding=encoding, skip_bad=skip_bad
    )
    if not found:
        raise InputError(f"{path} holds no texts with numbers ({found.report()})")
    return found


def _number(value: object, where: str) -> float:
    if type(value) in (int, float):
        value = str(value)
    elif value is not None and not isinstance(value, str):
        raise InputError(f"{where}: the value must be a number, got {json_kind(value)}")
    text = clean_text(value, "value", where)
    if not _is_number(text):
        hint = f" (a decimal point is expected: {text.replace(',', '.')})" if re.fullmatch(r"-?\d+,\d+", text) else ""
        raise InputError(f"{where}: the value must be a finite number, got {text[:60]!r}{hint}")
    return float(text)


def _is_number(text: str) -> bool:
    """Tell whether a field is a finite number; Python reads 1_000 too, but nobody writes it in a table."""
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False
