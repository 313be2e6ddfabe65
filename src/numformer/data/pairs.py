"""Pairs of a source text and its target, as in translation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numformer.data.examples import Examples, collect
from numformer.data.lines import read_lines, suffix_of
from numformer.data.rows import clean_text, json_field, json_rows, wrong_columns
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

    `source` and `target` are the keys in JSON. Empty lines are no rows; a row with a blank side is left out and counted.
    Raises InputError for a file that cannot be read or holds no pair, and, naming the line, for other columns or keys
    and for what is no text, unless `skip_bad` leaves such rows out.
    """

    def of_json(where: str, row: dict[str, Any]) -> Pair:
        a, b = json_field(row, source, where), json_field(row, target, where)
        return clean_text(a, "source", where), clean_text(b, "target", where)

    if suffix_of(path) in (".jsonl", ".json"):
        pairs = collect(json_rows(path, encoding), of_json, skip_bad=skip_bad)
    else:
        pairs = collect(_tab_rows(path, encoding), _of_columns, skip_bad=skip_bad)
    if not pairs:
        raise InputError(f"{path} holds no pairs ({pairs.report()})")
    return pairs


def _tab_rows(path: str | Path, encoding: str) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(read_lines(path, encoding), 1):
        if line:
            yield f"{path}, line {number}", line.split("\t")


def _of_columns(where: str, columns: list[str]) -> Pair:
    if len(columns) != 2:
        hint = "; `numformer data clean-pairs` picks columns" if len(columns) > 2 else ""
        raise wrong_columns(len(columns), f"2 (source TAB target){hint}", where)
    return clean_text(columns[0], "source", where), clean_text(columns[1], "target", where)
