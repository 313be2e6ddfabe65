"""`numformer evaluate`."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from numformer.cli.options import parse
from numformer.errors import InputError
from numformer.tasks import load_task

READING = ("encoding", "text", "label", "source", "target", "column")  # fields of the tasks' data configs


@dataclass(kw_only=True)
class Evaluate:
    """Print what a model's task is measured by as one JSON object."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, of its best/, or of a saved model."""
    data: str | None = None
    """File to evaluate on (or known text); what the run held out when not given."""
    encoding: str | None = None
    """Encoding of that file; the run's when not given, as for the next five."""
    text: str | None = None
    """classify: name of the column or key of the text."""
    label: str | None = None
    """classify: name of the column or key of the label."""
    source: str | None = None
    """seq2seq, summarise: key of the source in JSONL."""
    target: str | None = None
    """seq2seq, summarise: key of the target in JSONL."""
    column: str | None = None
    """tag: column of the tags in a CoNLL-U file: upos, xpos or ner."""
    max_windows: int | None = None
    """lm, mlm: measure on this many windows spread over the text instead of all of it."""
    max_examples: int | None = None
    """seq2seq, summarise: measure on so many pairs, taken evenly from the whole."""
    num_beams: int | None = None
    """seq2seq, summarise: width of the beam."""
    length_penalty: float | None = None
    """seq2seq, summarise: power of the length that scores are divided by."""
    confusion_matrix: Path | None = None
    """classify: draw the confusion matrix into this PNG file."""


def run(command: str, arguments: list[str]) -> int:
    """Evaluate and print."""
    options = parse(Evaluate, command, arguments)
    task = load_task(options.run)
    given = {name: value for name, value in vars(options).items() if name not in ("run", "data") and value is not None}
    allowed = {name: given[name] for name in given if name in inspect.signature(task.evaluate).parameters}
    reading = {name: given[name] for name in given if name in READING and hasattr(getattr(task, "config", None), name)}
    for name in given:
        if name not in allowed and name not in reading:
            raise InputError(f"--{name.replace('_', '-')} is not for {options.run}, whose task is {task.name}")
    if reading and options.data is None:
        raise InputError(f"--{next(iter(reading))} says how to read a file: name it with --data")
    if reading:
        task.config = replace(task.config, **reading)
    if options.data is None:
        task.load_held_out(options.run)
    data = None if options.data is None else Path(options.data)
    print(json.dumps(task.evaluate(data, **allowed), ensure_ascii=False))
    return 0
