"""`numformer predict` and `numformer translate`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Any

from numformer._notices import amount, say
from numformer.cli.shared.counter import LiveCounter
from numformer.cli.shared.inputs import InputOptions, encoding_for, open_inputs
from numformer.cli.shared.options import TaskOption, given_options, open_run, options_of_tasks, parse, with_options
from numformer.cli.shared.outputs import check_out, open_output
from numformer.data.files.lines import read_lines
from numformer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PredictionOptions(InputOptions):
    """Options that say where the inputs are, and where the predictions go."""

    out: Path | None = None
    """Write into this file instead; .csv, .tsv and .jsonl hold the columns of the input too."""
    overwrite: bool = False
    """Replace the file of --out."""


@dataclass(frozen=True, kw_only=True)
class Predict(PredictionOptions):
    """Print what a model says about each text as it goes: for people on a terminal, else one JSON object a line."""

    pair: str | None = None
    """classify, regress: column of the second text of pairs in a table; that of the training when not given."""
    words: bool = False
    """tag: take the words of a text as they are, with blanks between, or as a JSON list."""
    word_column: str | int | None = None
    """tag: column of the words in a column file, its number from 1 or its name; that of the training when not given."""


@dataclass(frozen=True, kw_only=True)
class Translate(PredictionOptions):
    """Print the translation of each text: a line in, a line out."""


def task_options(command: str) -> dict[str, TaskOption]:
    """Return the options of the tasks for a command; of several targets, `translate` prints the best alone."""
    if command != "translate":
        return options_of_tasks("predict_options")
    found = options_of_tasks("predict_options", having="translate")
    return {name: option for name, option in found.items() if name != "num_return"}


def options_class(command: str) -> type[Any]:
    """Return the options of a command, those of the tasks among them."""
    base = Translate if command == "translate" else Predict
    return with_options(base, task_options(command), say_owners=command != "translate")


def run(command: str, arguments: list[str]) -> int:
    """Predict and print."""
    options: Any = parse(options_class(command), command, arguments)
    check_out(options.out, options.overwrite, command)
    task = open_run(options)
    _check_task(command, task, options.run)
    settings = given_options(options, task_options(command), task)
    options = replace(options, encoding=encoding_for(options, task))
    for second in task.inputs[1:]:
        given = settings.get(second)
        if isinstance(given, str) and " " not in given and Path(given).suffix and not _is_file(given):
            say(f"--{second} {given} is no file, and is taken for the text itself")
        if _is_file(given):
            settings[second] = "\n".join(read_lines(settings[second], options.encoding))
    inputs = open_inputs(options, task, settings)
    count = blank = 0
    with (
        open_output(options.out, command, task, settings, inputs) as write,
        LiveCounter(_shows_progress(options)) as counter,
    ):
        rows, asked = tee(inputs.rows)
        predictions = task.stream((row.given for row in asked), paused=inputs.paused, **settings)
        for prediction, row in zip(predictions, rows, strict=True):
            write(row, prediction)
            count, blank = count + 1, blank + (row.given is None)
            counter.show(count)
    if blank and command != "translate":
        say(f"{blank:,} of {amount(count, 'inputs')} without a prediction: blank")
    if options.out:
        say(f"{options.out}: {amount(count, 'rows')}")
    return 0


def _check_task(command: str, task: Any, run: Path) -> None:
    """Raise InputError, with the command to use, for a task that does not do this one."""
    if task.name == "embed":
        raise InputError(f"{run} makes vectors of texts: use numformer embed")
    if not hasattr(task, "predict"):
        raise InputError(f"{run} holds a language model: use numformer generate")
    if command == "translate" and not hasattr(task, "translate"):
        raise InputError(f"translate needs a seq2seq model; the task of {run} is {task.name}: use numformer predict")


def _shows_progress(options: Any) -> bool:
    """Tell whether a person looks on who does not see the predictions themselves."""
    return sys.stderr.isatty() and (options.out is not None or not (sys.stdout and sys.stdout.isatty()))


def _is_file(text: str | None) -> bool:
    try:
        return text is not None and Path(text).is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or has a NUL
        return False
