"""Where the inputs of a prediction come from: arguments, standard input, a file of lines, a table, or a file of words."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeGuard

import tyro

from numformer.cli.options import warn
from numformer.cli.standard_input import StandardInput
from numformer.data.examples import LeftOut
from numformer.data.lines import read_lines, suffix_of
from numformer.data.rows import clean_text, joined_text, json_field, json_kind, parse_json
from numformer.data.tables import DELIMITED, TABLES, Fields, Table, read_table
from numformer.errors import InputError
from numformer.tasks.shared.task import Task


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Options that say where the inputs are."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, of its best/, or of a saved model."""
    texts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = ()
    """Texts; without any, the lines of --input or of standard input."""
    input: Path | None = None
    """Table (.csv, .tsv, .jsonl, .json) whose rows are read by column, or another file with a text on every line."""
    text: tuple[str, ...] = ()
    """Column of the text in a table, or several, which are joined with a space; those of the training when not given."""
    encoding: str = "utf-8"
    """Encoding of the input, and of a file with the context."""
    skip_bad: bool = False
    """Leave rows of a table out that are malformed, and count them, instead of stopping at the first."""
    out: Path | None = None
    """Write into this file instead; .csv, .tsv and .jsonl hold the columns of the input too."""
    overwrite: bool = False
    """Replace the file of --out."""


class Row(NamedTuple):
    """What the output says again of an input, and what is predicted from: None where it is blank."""

    cells: dict[str, Any]
    given: Any


@dataclass
class Source:
    """The rows to predict from, to be iterated over once, and the names of their columns.

    `repeated` are the fields of a prediction that the rows have already; `paused` tells whether the next row may be long
    in coming.
    """

    names: list[str]
    repeated: tuple[str, ...]
    rows: Iterable[Row]
    paused: Callable[[], bool] = lambda: False


def open_source(options: Any, task: Task, settings: dict[str, Any]) -> Source:
    """Return the inputs of a task; raises InputError for options that do not fit each other or the task."""
    as_words = getattr(options, "words", False)
    if options.texts and options.input:
        raise InputError("give texts as arguments or with --input, not both")
    if as_words and not task.takes_words:
        raise InputError(f"--words is not for {options.run}, whose task is {task.name}")
    suffix = "" if options.input is None else suffix_of(options.input)
    if task.takes_words and suffix == ".jsonl" and _holds_lists(options.input, options.encoding):
        return Source(["words"], ("words",), _rows_of_lists(options.input, options.encoding))
    if suffix in TABLES:
        return _source_of_table(options, task, settings, as_words)
    if options.text:
        raise InputError(f"--text names columns of a table: give one with --input ({', '.join(TABLES)})")
    return _source_of_lines(options, task, settings, as_words)


def _source_of_lines(options: Any, task: Task, settings: dict[str, Any], as_words: bool) -> Source:
    name, *others = task.inputs
    for other in others:
        if settings.get(other) is None:
            table = f"--input TABLE with the columns {' and '.join(task.inputs)}"
            raise InputError(f"{name}s need the text to find the answers in: --{other} TEXT, or {table}")
    standard_input = StandardInput(options.encoding)
    lines = options.texts or (read_lines(options.input, options.encoding) if options.input else standard_input)
    given: Callable[[str], Any] = words_of if as_words else str
    rows = (Row({name: line}, given(line) if line.strip() else None) for line in lines)
    return Source([name], task.inputs, rows, standard_input.paused if lines is standard_input else lambda: False)


def words_of(text: str) -> list[str]:
    """Return the words of a text that has blanks between them, or is a JSON list of them."""
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        words = None
    return words if _are_words(words) else text.split()


def _are_words(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _holds_lists(path: Path, encoding: str) -> bool:
    """Tell whether the first line of a file is a list of words in JSON."""
    try:
        return _are_words(json.loads(next((line for line in read_lines(path, encoding) if line.strip()), "")))
    except (ValueError, RecursionError):
        return False


def _rows_of_lists(path: Path, encoding: str) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path, encoding), 1):
        words = parse_json(line, path, number) if line.strip() else []
        if not _are_words(words):
            raise InputError(f"{path}, line {number}: expected a list of words, got {json_kind(words)}")
        yield Row({"words": words}, words or None)


def _source_of_table(options: Any, task: Task, settings: dict[str, Any], as_words: bool) -> Source:
    columns = tuple(options.text) or task.input_columns()
    others = [name for name in task.inputs[1:] if settings.get(name) is None]
    table = read_table(options.input, options.encoding, [*columns, *others])
    for note in table.notes:
        warn(f"{options.input}: {note}")
    if task.takes_words and not options.text and "words" in table.names:
        rows = _rows(table, lambda cells, where: _words_in(cells["words"], where), options)
        return Source(_names(table, options), (*task.inputs, "words"), rows)
    if not options.text and len(table.names) == 1:
        columns = (table.names[0],)
    for column in columns:
        table.column(column, "text")
    for other in others:
        if other not in table.names:
            listed = textwrap.shorten(", ".join(map(repr, table.names)), 200)
            raise InputError(
                f"{table.header}: there is no column {other!r} (the columns are {listed}): give --{other} TEXT"
            )

    def given(cells: Fields, where: str) -> Any:
        text = joined_text((json_field(cells, column, where, "text") for column in columns), "text", where)
        if as_words:
            return words_of(text)
        whole = [json_field(cells, other, where) for other in others]
        for other, value in zip(others, whole, strict=True):
            clean_text(value, other, where)  # the positions of answers hold for the text as it is, with its blanks
        return (text, *whole) if others else text

    return Source(_names(table, options), tuple(task.inputs), _rows(table, given, options))


def _words_in(value: object, where: str) -> list[str]:
    words = words_of(value) if isinstance(value, str) else value
    if not _are_words(words):
        raise InputError(f"{where}: 'words' must be a list of words, got {json_kind(value)}")
    if not words:
        raise LeftOut("blank words")
    return words


def _rows(table: Table, given: Callable[[Fields, str], Any], options: Any) -> Iterator[Row]:
    """Yield the rows of a table; those that are malformed are an error, or are left out and counted with --skip-bad."""
    malformed = 0
    for where, cells in table:
        try:
            if isinstance(cells, InputError):
                raise cells
            yield Row(cells, _or_none(given, cells, where))
        except InputError as error:
            if not options.skip_bad:
                raise InputError(f"{error} (--skip-bad leaves such rows out)") from None
            malformed += 1
    if malformed:
        warn(f"{options.input}: {malformed:,} malformed rows left out")


def _or_none(given: Callable[[Fields, str], Any], cells: Fields, where: str) -> Any:
    """Return what is predicted from, None where it is blank."""
    try:
        return given(cells, where)
    except LeftOut:
        return None


def _names(table: Table, options: Any) -> list[str]:
    """Return the names of all columns: in JSON, where each row has its own, those of any row, for which the file is read."""
    if suffix_of(options.input) in DELIMITED:
        twice = [name for name in dict.fromkeys(table.names) if table.names.count(name) > 1]
        if twice:
            warn(f"{options.input}: of the columns called {', '.join(map(repr, twice))} the last one of each is kept")
        return list(dict.fromkeys(table.names))
    rows = read_table(options.input, options.encoding)
    return list(dict.fromkeys(name for _, cells in rows if not isinstance(cells, InputError) for name in cells))
