"""Where the inputs of a prediction come from: arguments, standard input, a file of lines, a table, or a file of words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from numformer.cli.shared.options import RunOptions
from numformer.cli.shared.pair_inputs import inputs_of_pair_table, pairs_of_arguments, pairs_of_lines, wants_pairs
from numformer.cli.shared.rows import InputRow, Inputs
from numformer.cli.shared.standard_input import StandardInput
from numformer.cli.shared.table_inputs import inputs_of_table
from numformer.cli.shared.word_inputs import inputs_of_words, words_of
from numformer.data.files.lines import read_lines, suffix_of
from numformer.data.tables.reader import TABLES
from numformer.errors import InputError
from numformer.tasks.shared.task import Task
from numformer.tasks.shared.text_pairs import NAMES


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(RunOptions):
    """Options that say how inputs are read."""

    text: tuple[str, ...] = ()
    """Column of the text in a table, or several, which are joined with a space; those of the training when not given."""
    encoding: str | None = None
    """Encoding of the input, and of a file with the context; that of the training when not given (of stdin utf-8)."""
    skip_bad: bool = False
    """Leave rows of a table out that are malformed, and count them, instead of stopping at the first."""


@dataclass(frozen=True, kw_only=True)
class InputOptions(ReadingOptions):
    """Options that say where the inputs are."""

    texts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = ()
    """Texts; without any, the lines of --input or of standard input."""
    input: Path | None = None
    """Table (.csv, .tsv, .jsonl, .json) whose rows are read by column, or another file with a text on every line."""


def encoding_for(options: Any, task: Task) -> str:
    """Return the encoding of the inputs: the one that is given, of a file that of the training, or else UTF-8."""
    if options.encoding is not None:
        return str(options.encoding)
    return "utf-8" if options.input is None else str(getattr(task.config, "encoding", "utf-8"))


def open_inputs(options: Any, task: Task, settings: dict[str, Any]) -> Inputs:
    """Return the inputs of a task; raises InputError for options that do not fit each other or the task."""
    if options.texts and options.input:
        raise InputError("give texts as arguments or with --input, not both")
    if not task.takes_words:
        for name in ("words", "word_column"):
            if getattr(options, name, None):
                raise InputError(f"--{name.replace('_', '-')} is not for {options.run}, whose task is {task.name}")
    elif inputs := inputs_of_words(options, task):
        return inputs
    pairs = wants_pairs(options, task)
    if options.input is not None and suffix_of(options.input) in TABLES:
        return inputs_of_pair_table(options, task) if pairs else inputs_of_table(options, task, settings)
    for name in ("text", "pair"):
        if getattr(options, name, None):
            raise InputError(f"--{name} names columns of a table: give one with --input ({', '.join(TABLES)})")
    return _inputs_of_lines(options, task, settings, pairs)


def _inputs_of_lines(options: Any, task: Task, settings: dict[str, Any], pairs: bool) -> Inputs:
    name, *others = task.inputs
    for other in others:
        if settings.get(other) is None:
            table = f"--input TABLE with the columns {' and '.join(task.inputs)}"
            raise InputError(f"{name}s need the text to find the answers in: --{other} TEXT, or {table}")
    standard_input = StandardInput(options.encoding)
    lines = options.texts or (read_lines(options.input, options.encoding) if options.input else standard_input)
    paused = standard_input.paused if lines is standard_input else lambda: False
    if pairs:
        return Inputs(
            list(NAMES), NAMES, pairs_of_arguments(options.texts) if options.texts else pairs_of_lines(lines), paused
        )
    given: Callable[[str], Any] = words_of if getattr(options, "words", False) else str
    rows = (InputRow({name: line}, given(line) if line.strip() else None) for line in lines)
    return Inputs([name], task.inputs, rows, paused)
