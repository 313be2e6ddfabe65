"""Inputs from the columns of a table."""

from __future__ import annotations

from typing import Any

from numformer._notices import listed, say
from numformer.cli.shared.rows import InputRow, Inputs, make_rows
from numformer.cli.shared.word_inputs import words_in, words_of
from numformer.data.files.lines import suffix_of
from numformer.data.files.rows import clean_text, joined_text, json_field, wrong_columns
from numformer.data.pairs.reader import tab_rows
from numformer.data.tables.reader import DELIMITED, Fields, Table, read_table
from numformer.errors import InputError
from numformer.tasks.shared.task import Task


def inputs_of_table(options: Any, task: Task, settings: dict[str, Any]) -> Inputs:
    """Return the rows of a table: the text of --text, or of the columns of the training, or of the only one there is.

    A tagger takes a column "words" as they are; a second input that was not given as an option has a column of its name.
    """
    columns = tuple(options.text) or task.input_columns()
    others = [name for name in task.inputs[1:] if settings.get(name) is None]
    table = read_table(options.input, options.encoding, [*columns, *others])
    if task.takes_words and not options.text and "words" in table.names:
        rows = make_rows(table, lambda cells, where: words_in(cells.get("words"), where), options, table.notes)
        lists = (InputRow({**row.cells, "words": row.given or []}, row.given) for row in rows)  # in CSV they are JSON
        return Inputs(names_of_columns(table, options), (*task.inputs, "words"), lists)
    if not options.text and columns[0] not in table.names:
        if suffix_of(options.input) == ".tsv" and len(table.names) <= len(task.columns_without_header()):
            return _inputs_without_header(options, task, len(table.names))
        if len(table.names) == 1 and table.is_regular:
            columns = (table.names[0],)
            say(f"{options.input}: the text is the only column, {columns[0]!r}")
    for column in columns:
        table.column(column, "text")
    for other in others:
        _check_column(table, other)

    def given(cells: Fields, where: str) -> Any:
        text = joined_text((json_field(cells, column, where, "text") for column in columns), "text", where)
        if getattr(options, "words", False):
            return words_of(text)
        beside = [json_field(cells, other, where) for other in others]
        for other, value in zip(others, beside, strict=True):
            clean_text(value, other, where)  # the positions of answers hold for the text as it is, with its blanks
        return (text, *beside) if others else text

    return Inputs(names_of_columns(table, options), task.inputs, make_rows(table, given, options, table.notes))


def _inputs_without_header(options: Any, task: Task, width: int) -> Inputs:
    """Return the lines of .tsv as pairs, as in training, or as what is predicted from alone."""
    (column,) = task.input_columns()
    names = list(task.columns_without_header()) if width > 1 else [column]

    def cells(fields: list[str], where: str) -> Fields | InputError:
        if len(fields) != width:
            return wrong_columns(len(fields), f"{width} as in the first line", where)
        return dict(zip(names, fields, strict=True))

    rows = ((where, cells(fields, where)) for where, fields in tab_rows(options.input, options.encoding))
    say(f"{options.input}: no header; the columns are {', '.join(names)}")
    return Inputs(
        names, task.inputs, make_rows(rows, lambda row, where: clean_text(row[column], column, where), options)
    )


def _check_column(table: Table, name: str) -> None:
    if name not in table.names:
        columns = listed(table.names)
        raise InputError(f"{table.header}: there is no column {name!r} (the columns are {columns}); give --{name} TEXT")


def names_of_columns(table: Table, options: Any) -> list[str]:
    """Return the names of all columns; for a table made of JSON those of any row, for which the file is read once more."""
    if suffix_of(options.input) not in DELIMITED:
        out = getattr(options, "out", None)
        if out is None or suffix_of(out) not in DELIMITED:
            return table.names
        rows = read_table(options.input, options.encoding)
        return list(dict.fromkeys(name for _, cells in rows if not isinstance(cells, InputError) for name in cells))
    return table.keys
