"""Where predictions go: a terminal, JSON lines, plain lines, or a table with the columns of the input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, NamedTuple

from numformer.cli.shared.rows import InputRow, Inputs
from numformer.data.tables.writer import WRITTEN, json_line, writing_table, writing_text
from numformer.errors import InputError
from numformer.tasks.shared.task import Task

Write = Callable[[InputRow, Mapping[str, Any]], None]  # takes an input and its prediction
FEWEST = 16  # columns of a terminal that a text gets beside its prediction


def check_out(path: Path | None, overwrite: bool, command: str) -> None:
    """Raise InputError for a file that must not be replaced, and for one whose name does not say what to write."""
    if path is None:
        return
    if path.suffix.lower() not in WRITTEN and command != "translate":
        raise InputError(f"predictions are written to a .csv, .tsv or .jsonl file, got {path}")
    check_free(path, overwrite)


def check_free(path: Path | None, overwrite: bool) -> None:
    """Raise InputError for a file that exists, unless it is to be replaced."""
    if path is not None and path.exists() and not overwrite:
        raise InputError(f"{path} exists: choose another file, or replace it with --overwrite")


@contextmanager
def open_output(
    path: Path | None, command: str, task: Task, settings: Mapping[str, Any], inputs: Inputs
) -> Iterator[Write]:
    """Yield what writes each prediction, to a file that is there when all are in it, or to standard output at once."""
    merged = _Merged(inputs.names, inputs.repeated)
    if path is not None and path.suffix.lower() in WRITTEN:
        with writing_table(path, [*inputs.names, *merged.columns(task.table_columns(settings))]) as write:
            yield lambda row, prediction: write(merged.row(row.cells, prediction))
    elif path is not None:
        with writing_text(path) as file:
            yield lambda row, prediction: print(one_line(prediction), file=file)
    elif command == "translate":
        yield lambda row, prediction: print(one_line(prediction), flush=True)
    elif sys.stdout and sys.stdout.isatty():
        width = get_terminal_size().columns
        yield lambda row, prediction: print(readable(row.given, prediction, task, width), flush=True)
    else:
        yield lambda row, prediction: print(json_line(merged.row(row.cells, prediction)), flush=True)


class _Merged(NamedTuple):
    """How the fields of a prediction are put beside the columns of its input."""

    names: Sequence[str]
    repeated: Sequence[str]

    def name(self, field: str) -> str:
        """Return what a field of a prediction is called: predicted_label where there is a column label already."""
        while field in self.names:
            field = f"predicted_{field}"
        return field

    def columns(self, fields: Sequence[str]) -> list[str]:
        """Return what those of the fields are called that the input does not have."""
        return [self.name(field) for field in fields if field not in self.repeated]

    def row(self, cells: Mapping[str, Any], prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Return an input with its prediction."""
        fields = {self.name(field): value for field, value in prediction.items() if field not in self.repeated}
        return {**cells, **fields}


def one_line(prediction: Mapping[str, Any]) -> str:
    """Return a target on one line, so that line N of the output belongs to line N of the input."""
    return " ".join(prediction["target"].splitlines())


def readable(given: Any, prediction: Mapping[str, Any], task: Task, width: int) -> str:
    """Return an input and its prediction for a terminal of so many columns.

    They stand on one line where the prediction leaves room for the beginning of the input, else on two.
    """
    from rich.cells import cell_len, set_cell_size

    if given is None:
        return "(blank)"
    text, answer = _printable(_text_of(given)), _printable(task.in_words(prediction))
    room = width - cell_len(answer) - len(" → ")
    if cell_len(text) <= room:
        return f"{text} → {answer}"
    if room >= FEWEST:
        return f"{set_cell_size(text, room - 1).rstrip()}… → {answer}"
    return f"{text}\n  → {answer}"


def _text_of(given: Any) -> str:
    """Return the text of an input: of a question with its context the question, and words with spaces between."""
    if isinstance(given, tuple):
        return str(given[0])
    return given if isinstance(given, str) else " ".join(given)


def _printable(text: str) -> str:
    """Return a text on one line, without what would move the cursor."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
