"""`numformer evaluate`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numformer.cli.shared.options import (
    RunOptions,
    TaskOption,
    add_options,
    given_options,
    open_run,
    options_of_tasks,
    parse,
    with_options,
)
from numformer.cli.shared.outputs import check_free
from numformer.cli.shared.score_tables import print_scores
from numformer.data.tables.writer import check_table
from numformer.errors import InputError
from numformer.tasks import task_classes


@dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Print what a model's task is measured by: tables on a terminal, else one JSON object."""

    data: str | None = None
    """File to evaluate on (or known text); what the run held out when not given."""
    overwrite: bool = False
    """Replace the file of --errors."""


def reading_options() -> dict[str, TaskOption]:
    """Return the fields of the tasks' data configs that say how a file is read; not given, they are those of the run."""
    found: dict[str, TaskOption] = {}
    for task in task_classes():
        malformed = ["skip_bad"] if hasattr(task.data_config, "skip_bad") else []
        add_options(found, task, task.data_config, [*task.reading, *malformed])
    return {name: _as_in_the_run(option) for name, option in found.items()}


def _as_in_the_run(option: TaskOption) -> TaskOption:
    """Return an option that changes a setting of the run where it is given."""
    said = f"{option.help.rstrip('.')}; the run's when not given."
    if option.kind is bool:
        return option._replace(default=False, help=said)
    return option._replace(kind=option.kind | None, default=None, help=said)


def options_class() -> type[Any]:
    """Return the options of the command, those of all tasks among them."""
    return with_options(Evaluate, reading_options() | options_of_tasks("evaluate_options"))


def run(command: str, arguments: list[str]) -> int:
    """Evaluate and print."""
    options: Any = parse(options_class(), command, arguments)
    check_table(options.errors)
    check_free(options.errors, options.overwrite)
    if options.errors and options.data and Path(options.data).resolve() == Path(options.errors).resolve():
        raise InputError(f"--errors {options.errors} would replace the data: choose another file")
    task = open_run(options)
    if not hasattr(task, "evaluate"):
        raise InputError(
            f"{options.run} makes vectors of texts, which have no scores of their own: use numformer embed"
        )
    settings = given_options(options, options_of_tasks("evaluate_options"), task)
    reading = given_options(options, reading_options(), task)
    if reading and options.data is None:
        raise InputError(f"--{next(iter(reading)).replace('_', '-')} says how to read a file: name it with --data")
    if reading:
        task.config = replace(task.config, **reading)
    if options.data is None:
        task.load_held_out(options.run)
    data = None if options.data is None else Path(options.data)
    _print(task.evaluate(data, **settings))
    return 0


def _print(scores: dict[str, Any]) -> None:
    if _is_terminal():
        print_scores(scores, sys.stdout)
    else:
        print(json.dumps(scores, ensure_ascii=False))


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
