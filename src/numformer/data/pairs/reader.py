"""Pairs of a source text and its target, as in translation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numformer.data.files.delimited import Lines, read_tab_row
from numformer.data.files.examples import Examples, collect
from numformer.data.files.lines import read_lines, suffix_of
from numformer.data.files.rows import clean_text, joined_text, json_field, json_rows, wrong_columns
from numformer.errors import InputError

Pair = tuple[str, str]  # a source and its target


def read_pairs(
    path: str | Path,
    *,
    source: str = "source",
    target: str = "target",
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[Pair]:
    """Return the pairs of a file: JSON objects in .jsonl and .json, else two columns with a TAB between and no header.

    `source` and `target` are the keys in JSON; a source that is a list of texts is joined with spaces, and of a list of
    targets the first is taken. A line with TABs is a row, whose fields `unquoted` reads; empty lines are none.
    A row with a blank side is left out and counted. Raises InputError for a file that cannot be read or holds no pair, and,
    naming the line, for other columns or keys and for what is no text, unless `skip_bad` leaves such rows out.
    """
    further = 0

    def of_json(where: str, row: dict[str, Any]) -> Pair:
        nonlocal further
        text = joined_text([json_field(row, source, where, "source")], "source", where)
        targets = json_field(row, target, where, "target")
        if not isinstance(targets, list):
            return text, clean_text(targets, "target", where)
        first = clean_text(targets[0] if targets else None, "target", where)
        further += len(targets) - 1
        return text, first

    if suffix_of(path) in (".jsonl", ".json"):
        pairs = collect(json_rows(path, encoding), of_json, skip_bad=skip_bad)
    else:
        pairs = collect(tab_rows(path, encoding), _of_columns, skip_bad=skip_bad)
    if not pairs:
        raise InputError(f"{path} holds no pairs ({pairs.report()})")
    if further:
        pairs.notes.append(f"{further:,} further targets not used")
    return pairs


def tab_rows(path: str | Path, encoding: str = "utf-8") -> Iterator[tuple[str, list[str]]]:
    """Yield the fields of each line between its TABs, with where it stands; empty lines are no rows."""
    lines = Lines(read_lines(path, encoding))
    while (row := read_tab_row(lines)).lines:
        yield f"{path}, line {row.lines[0][0]}", row.fields


def _of_columns(where: str, columns: list[str]) -> Pair:
    if len(columns) != 2:
        hint = "; `numformer data clean-pairs` picks columns" if len(columns) > 2 else ""
        raise wrong_columns(len(columns), f"2 (source TAB target){hint}", where)
    return clean_text(columns[0], "source", where), clean_text(columns[1], "target", where)
