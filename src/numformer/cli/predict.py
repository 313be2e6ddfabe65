"""`numformer predict` and `numformer translate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from numformer.cli.options import (
    RunOptions,
    TaskOption,
    given_options,
    open_run,
    options_of_tasks,
    parse,
    warn,
    with_options,
)
from numformer.data.lines import check_text, json_field, read_json_lines, read_lines
from numformer.errors import InputError
from numformer.tasks.shared.task import Task


@dataclass(frozen=True, kw_only=True)
class Inputs(RunOptions):
    """Where the texts come from: arguments, a file, or standard input."""

    texts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = ()
    """Texts; without any, the lines of --input or of standard input."""
    input: Path | None = None
    """File with a text on every line; for question answering JSONL with the keys question and context."""
    encoding: str = "utf-8"
    """Encoding of that file, or of a file with the context."""


@dataclass(frozen=True, kw_only=True)
class Predict(Inputs):
    """Print what a model says about each text, one JSON object a line, with scores."""


@dataclass(frozen=True, kw_only=True)
class Translate(Inputs):
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
    task = open_run(options)
    if command == "translate" and not hasattr(task, "translate"):
        raise InputError(f"translate needs a seq2seq model; the task of {options.run} is {task.name}")
    settings = given_options(options, task_options(command), task)
    if not hasattr(task, "predict"):
        raise InputError(f"{options.run} holds a language model: use numformer generate")
    inputs = _texts(options) if len(task.inputs) == 1 else _pairs(task, options, settings)
    for result in task.predict(inputs, **settings, progress=True):
        print(_line(result) if command == "translate" else json.dumps(result, ensure_ascii=False))
    return 0


def _texts(options: Any) -> list[str]:
    if options.texts and options.input:
        raise InputError("give texts as arguments or with --input, not both")
    if options.texts:
        return list(options.texts)
    if options.input:
        return list(read_lines(options.input, options.encoding))
    if sys.stdin and sys.stdin.isatty():
        warn("reading lines from the terminal; end with Ctrl-D")
    data = sys.stdin.buffer.read() if sys.stdin else b""  # None where it was closed
    try:
        lines = data.decode().removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise InputError(f"standard input is not UTF-8 text: {byte}") from None
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def _pairs(task: Task, options: Any, settings: dict[str, Any]) -> list[str] | list[tuple[str, str]]:
    """Return the texts of a task that takes two: those of one second text, a file or itself, or the pairs of a file."""
    first, second = task.inputs
    if settings.get(second) is None:
        if options.texts or not options.input:
            raise InputError(f"{first}s need the text to find the answers in: --{second} TEXT, or --input FILE.jsonl")
        lines = read_json_lines(options.input, options.encoding)
        return [(_text(row, first, where), _text(row, second, where)) for where, row in lines]
    if _is_file(settings[second]):
        settings[second] = "\n".join(read_lines(settings[second], options.encoding))
    return _texts(options)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a text that is too long for a name
        return False


def _text(row: dict[str, Any], key: str, where: str) -> str:
    return check_text(json_field(row, key, where), key, where)


def _line(result: Mapping[str, Any]) -> str:
    """Return a target on one line, so that line N of the output belongs to line N of the input; a blank one stays blank."""
    return " ".join(result["target"].splitlines()) if result["source"].strip() else ""
