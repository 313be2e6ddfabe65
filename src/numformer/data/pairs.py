"""Pairs of a source text and its target, as in translation."""

from collections.abc import Iterator
from pathlib import Path

from numformer.data.lines import check_text, json_field, read_json_lines, read_lines, wrong_columns
from numformer.errors import InputError

Pair = tuple[str, str]  # a source and its target
Rows = Iterator[tuple[str, object, object]]  # where, source, target


def read_pairs(
    path: str | Path, *, source: str = "source", target: str = "target", encoding: str = "utf-8"
) -> list[Pair]:
    """Return the pairs of a file: JSON objects one to a line in .jsonl, else two columns with a TAB between, no header.

    `source` and `target` are the keys in .jsonl. Empty lines are left out. Raises InputError for a file that cannot
    be read or holds no pair, and, naming the line, for other columns or keys and for blank or other than text fields.
    """
    is_json = Path(path).suffix.lower() == ".jsonl"
    rows = _json_rows(path, source, target, encoding) if is_json else _tab_rows(path, encoding)
    pairs = [(check_text(a, "the source", where), check_text(b, "the target", where)) for where, a, b in rows]
    if not pairs:
        raise InputError(f"{path} holds no pairs")
    return pairs


def _json_rows(path: str | Path, source: str, target: str, encoding: str) -> Rows:
    for where, row in read_json_lines(path, encoding):
        yield where, json_field(row, source, where), json_field(row, target, where)


def _tab_rows(path: str | Path, encoding: str) -> Rows:
    for number, line in enumerate(read_lines(path, encoding), 1):
        if not line:
            continue
        where = f"{path}, line {number}"
        columns = line.split("\t")
        if len(columns) != 2:
            hint = "; `numformer data clean-pairs` picks columns" if len(columns) > 2 else ""
            raise wrong_columns(len(columns), f"2 (source TAB target){hint}", where)
        yield where, columns[0], columns[1]
