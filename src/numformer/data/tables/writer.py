"""Tables written row by row: CSV, TSV and JSON Lines that the readers here, pandas and spreadsheets read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from numformer._files import replacing
from numformer._notices import amount, say
from numformer.errors import InputError

DELIMITER_OF = {".csv": ",", ".tsv": "\t"}
WRITTEN = (*DELIMITER_OF, ".jsonl")
_NO_BREAKS = str.maketrans("\t\r\n", "   ")  # a line of TSV is a row

WriteRow = Callable[[Mapping[str, object]], None]


def check_table(path: str | Path | None) -> None:
    """Raise InputError unless the name of a file, where there is one, says how a table is written to it."""
    if path is not None and Path(path).suffix.lower() not in WRITTEN:
        raise InputError(f"a table is written to a .csv, .tsv or .jsonl file, got {path}")


@contextmanager
def writing_table(path: str | Path, names: Sequence[str]) -> Iterator[WriteRow]:
    """Yield what writes a row to a file, which takes its place in one step when the block succeeds.

    CSV and TSV have a header and these columns, empty where a row has no value or None; what is not text or a number is
    written as JSON. A TAB or a line break becomes a space in TSV, and stays in quotes in CSV. JSON Lines have the keys of
    each row. Text is UTF-8. Raises InputError for another kind of file, and when it cannot be written.
    """
    check_table(path)
    with writing_text(path) as file:
        if (suffix := Path(path).suffix.lower()) == ".jsonl":
            yield lambda row: print(json_line(row), file=file)
            return
        table = _Table(file, DELIMITER_OF[suffix])
        table.write(names)
        yield lambda row: table.write([row.get(name) for name in names])
    if table.num_respaced:
        cells = amount(table.num_respaced, "cells")
        say(f"{path}: {cells} with spaces for TABs and line breaks, which a .csv file would keep")


@contextmanager
def writing_text(path: str | Path) -> Iterator[IO[str]]:
    """Yield a text file, which takes its place in one step when the block succeeds.

    Bytes of the input that are no text are written as they came.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file


def json_line(row: Mapping[str, object]) -> str:
    """Return a row as JSON on one line, with its letters as they are."""
    return json.dumps(row, ensure_ascii=False)


class _Table:
    """Rows of cells with a delimiter between, and quotation marks around those that need them."""

    def __init__(self, file: IO[str], delimiter: str) -> None:
        self.file, self.delimiter = file, delimiter
        self.num_respaced = 0

    def write(self, values: Sequence[object]) -> None:
        cells = [_cell(value) for value in values]
        if self.delimiter == "\t":
            on_a_line = [cell.translate(_NO_BREAKS) for cell in cells]
            self.num_respaced += sum(a != b for a, b in zip(cells, on_a_line, strict=True))
            cells = on_a_line
        line = io.StringIO(newline="")
        csv.writer(line, delimiter=self.delimiter).writerow(cells)  # its own line end makes it quote every kind of them
        print(line.getvalue().removesuffix("\r\n"), file=self.file)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
