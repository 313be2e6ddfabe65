"""Inputs of a model that reads pairs of texts: arguments in twos, lines with a TAB, or two columns of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from numformer.cli.shared.rows import InputRow, Inputs, make_rows
from numformer.cli.shared.table_inputs import names_of_columns
from numformer.data.files.rows import joined_text, json_field
from numformer.data.tables.reader import Fields, read_table
from numformer.errors import InputError
from numformer.tasks.shared.task import Task
from numformer.tasks.shared.text_pairs import NAMES


def wants_pairs(options: Any, task: Task) -> bool:
    """Tell whether the inputs are pairs: those of a model of pairs, or of one that does not say and is given --pair.

    Raises InputError for --pair where the model reads single texts.
    """
    column = getattr(options, "pair", None)
    if column is not None and task.reads_pairs is False:
        raise InputError(f"--pair is not for {options.run}, which reads single texts")
    return bool(task.reads_pairs) or column is not None


def pairs_of_arguments(texts: Sequence[str]) -> Iterator[InputRow]:
    """Yield arguments in twos; raises InputError for an odd number of them."""
    if len(texts) % 2:
        raise InputError(f"the model reads pairs of texts: give an even number of them, got {len(texts)}")
    for first, second in zip(texts[::2], texts[1::2], strict=True):
        yield _row(first, second)


def pairs_of_lines(lines: Iterable[str]) -> Iterator[InputRow]:
    """Yield lines with a TAB between two texts, a blank line as a blank input; raises InputError for any other."""
    for number, line in enumerate(lines, 1):
        fields = line.split("\t") if line.strip() else ["", ""]
        if len(fields) != 2:
            got = f"got {len(fields) - 1} TABs" if len(fields) > 2 else "got no TAB"
            raise InputError(f"line {number}: the model reads pairs of texts, with one TAB between the two; {got}")
        yield _row(*fields)


def inputs_of_pair_table(options: Any, task: Task) -> Inputs:
    """Return the rows of a table, with the columns of --text and --pair, or of the training."""
    columns = tuple(options.text) or task.input_columns()
    pair = getattr(options, "pair", None) or getattr(task.config, "pair", None) or NAMES[1]
    table = read_table(options.input, options.encoding, [*columns, pair])
    for column in columns:
        table.column(column, "text")
    table.column(pair, "pair")

    def given(cells: Fields, where: str) -> tuple[str, str]:
        first = joined_text((json_field(cells, column, where, "text") for column in columns), "text", where)
        return first, joined_text([json_field(cells, pair, where, "pair")], pair, where)

    return Inputs(names_of_columns(table, options), NAMES, make_rows(table, given, options, table.notes))


def _row(first: str, second: str) -> InputRow:
    is_blank = not first.strip() or not second.strip()
    return InputRow(dict(zip(NAMES, (first, second), strict=True)), None if is_blank else (first, second))
