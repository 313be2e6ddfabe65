"""`numformer evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numformer.cli.options import (
    RunOptions,
    TaskOption,
    add_options,
    given_options,
    open_run,
    options_of_tasks,
    parse,
    with_options,
)
from numformer.errors import InputError
from numformer.tasks import task_classes


@dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Print what a model's task is measured by as one JSON object."""

    data: str | None = None
    """File to evaluate on (or known text); what the run held out when not given."""


def reading_options() -> dict[str, TaskOption]:
    """Return the fields of the tasks' data configs that say how a file is read; not given, they are those of the run."""
    found: dict[str, TaskOption] = {}
    for task in task_classes():
        add_options(found, task, task.data_config, list(task.reading))
    return {
        name: option._replace(
            kind=str | None, default=None, help=f"{option.help.rstrip('.')}; the run's when not given."
        )
        for name, option in found.items()
    }


def options_class() -> type[Any]:
    """Return the options of the command, those of all tasks among them."""
    return with_options(Evaluate, reading_options() | options_of_tasks("evaluate_options"))


def run(command: str, arguments: list[str]) -> int:
    """Evaluate and print."""
    options = parse(options_class(), command, arguments)
    task = open_run(options)
    settings = given_options(options, options_of_tasks("evaluate_options"), task)
    reading = given_options(options, reading_options(), task)
    if reading and options.data is None:
        raise InputError(f"--{next(iter(reading))} says how to read a file: name it with --data")
    if reading:
        task.config = replace(task.config, **reading)
    if options.data is None:
        task.load_held_out(options.run)
    data = None if options.data is None else Path(options.data)
    print(json.dumps(task.evaluate(data, **settings), ensure_ascii=False))
    return 0
