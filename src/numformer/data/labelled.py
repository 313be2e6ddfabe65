"""Texts with one label each, as in classification."""

import csv
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from numformer.data.examples import Examples, collect
from numformer.data.lines import read_lines, suffix_of
from numformer.data.rows import clean_text, json_field, json_kind, json_rows, wrong_columns
from numformer.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MAX_FIELD = 1 << 24  # characters; the csv module's own limit is less than a book

JSON = (".jsonl", ".json")

Rows = Iterator[tuple[str, tuple[object, object] | InputError]]  # where, text and label or number
LabelledText = tuple[str, str]


def read_labelled(
    path: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[LabelledText]:
    """Return texts with their labels from a .csv or .tsv file with a header, a .jsonl file, or a folder.

    `text` and `label` name the columns, by default "text" and "label"; when one of these two is missing among exactly
    two columns, the other column is taken. A folder holds a subfolder per label with a text in each file, or a file
    per label with a text on each line that is not blank. The label is the folder's or file's name without suffix, or
    the suffix where that is all that differs (rt-polarity.neg, rt-polarity.pos). Files named README or LICENSE and
    hidden ones are left out, as are blank texts and labels, which are counted. Raises InputError, naming the line, for what
    cannot be read so.
    """
    path = Path(path)
    if path.is_dir():
        rows = _folder_rows(path, encoding)
    elif suffix_of(path) in (*DELIMITERS, *JSON):
        rows = rows_of_table(path, Column("label", label, (str, int), "text or an integer"), text, encoding)
    elif not path.exists():
        raise InputError(f"there is no file or folder {path}")
    else:
        raise InputError(f"labelled texts come in a .csv, .tsv, .jsonl or .json file or a folder, got {path}")

    def parse(where: str, row: tuple[object, object]) -> LabelledText:
        return clean_text(row[0], "text", where), clean_text(row[1], "label", where)

    found = collect(rows, parse, skip_bad=skip_bad)
    if not found:
        raise InputError(f"{path} holds no labelled texts ({found.report()})")
    return found


class Column(NamedTuple):
    """What stands beside the text in a table: its use and usual name, the name given for it, and what JSON may hold there."""

    use: str
    name: str | None
    kinds: tuple[type, ...]
    expected: str


def rows_of_table(path: Path, column: Column, text: str | None, encoding: str) -> Rows:
    """Yield where each row of a .csv, .tsv or .jsonl file stands, its text, and its other column as text."""
    read = _json_rows if suffix_of(path) in JSON else _csv_rows
    return read(path, column, text, encoding)


def _csv_rows(path: Path, column: Column, text: str | None, encoding: str) -> Rows:
    records = _records(path, encoding)
    header = next(records, None)
    if header is None:
        return
    where, names = header
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where}: the header names the column {repeated!r} more than once")
    text_index, index = map(names.index, _choose_columns(names, text, column, where))
    for where, fields in records:
        if len(fields) != len(names):
            yield where, wrong_columns(len(fields), f"{len(names)} as in the header", where)
        else:
            yield where, (fields[text_index], fields[index])


def _records(path: Path, encoding: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a table with the line each begins in; empty lines are left out."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    lines = (f"{line}\n" for line in read_lines(path, encoding))
    reader = csv.reader(lines, delimiter=DELIMITERS[suffix_of(path)], strict=True)
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{where}: not valid CSV ({error}); look at the quotes in the row begun there") from None
        if fields is None:
            return
        if fields:
            yield where, fields


def _json_rows(path: Path, column: Column, text: str | None, encoding: str) -> Rows:
    columns = None
    for where, row in json_rows(path, encoding):
        if isinstance(row, InputError):
            yield where, row
            continue
        columns = columns or _choose_columns(list(row), text, column, where)
        value = json_field(row, columns[1], where)
        if value is not None and type(value) not in column.kinds:
            raise InputError(f"{where}: {columns[1]!r} must be {column.expected}, got {json_kind(value)}")
        yield where, (json_field(row, columns[0], where), None if value is None else str(value))


def _choose_columns(names: list[str], text: str | None, column: Column, where: str) -> tuple[str, str]:
    """Return the names of the text's column and of the other one."""
    given = text, column.name
    chosen = [text or "text", column.name or column.use]
    for i in (0, 1):
        if not given[i] and chosen[i] not in names and chosen[1 - i] in names and len(names) == 2:
            chosen[i] = names[1 - names.index(chosen[1 - i])]
    for use, name in zip(("text", column.use), chosen, strict=True):
        if name not in names:
            listed = textwrap.shorten(", ".join(map(repr, names)), 200) or "none"
            raise InputError(f"{where}: there is no column {name!r} for the {use} (the columns are {listed})")
    if chosen[0] == chosen[1]:
        raise InputError(f"{where}: the text and the {column.use} cannot both be the column {chosen[0]!r}")
    return chosen[0], chosen[1]


def _folder_rows(folder: Path, encoding: str) -> Rows:
    entries = _entries(folder)
    subfolders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if not entry.is_dir()]
    if subfolders and files:
        raise InputError(
            f"{folder} holds folders and files, such as {subfolders[0].name} and {files[0].name}; "
            "expected one folder per label or one file per label"
        )
    if subfolders:
        return _rows_of_subfolders(subfolders, encoding)
    return _rows_of_files(files, encoding)


def _rows_of_subfolders(subfolders: list[Path], encoding: str) -> Rows:
    for subfolder in subfolders:
        files = _entries(subfolder)
        if not files:
            raise InputError(f"{subfolder} holds no text, expected one in each of its files")
        for file in files:
            yield str(file), ("\n".join(read_lines(file, encoding)), subfolder.name)


def _rows_of_files(files: list[Path], encoding: str) -> Rows:
    by_suffix = len(files) > 1 and len({file.stem for file in files}) == 1
    for file in files:
        label = file.suffix.removeprefix(".") if by_suffix else file.stem
        for number, line in enumerate(read_lines(file, encoding), 1):
            if line.strip():
                yield f"{file}, line {number}", (line, label)


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, in order of name, without hidden entries and files about the data.

    Raises InputError for a table, whose rows would be taken for texts.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"could not read {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.suffix.lower() in (*DELIMITERS, ".jsonl"):
            raise InputError(
                f"{folder} holds tables, expected texts in a folder or file per label; give {entry} itself"
            )
    return [
        entry
        for entry in entries
        if not entry.name.startswith(".")
        and (entry.is_dir() or not entry.name.upper().startswith(("README", "LICENSE")))
    ]
