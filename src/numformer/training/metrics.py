"""The record of a run: one JSON object a line, in metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numformer._files import write_atomically
from numformer.errors import InputError


def append_metrics(path: Path, line: dict[str, Any]) -> None:
    """Add the figures of a step to the file as one line; raises InputError when it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise InputError(f"could not write {path}: {error.strerror}") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the figures of every line, none where there is no file; a last line that was cut off by a kill is left out.

    Raises InputError, naming the line, for one that no run has written.
    """
    whole, lines = path.read_text(encoding="utf-8", errors="replace") if path.exists() else "", []
    *texts, cut_off = whole.split("\n")
    for number, text in enumerate([*texts, cut_off] if _figures(cut_off) else texts, start=1):
        if (line := _figures(text)) is None:
            raise InputError(
                f"{path}, line {number} is damaged: it is {text[:60]!r}, expected an object with step, loss and seconds; "
                "take the line out, or put it right"
            )
        lines.append(line)
    return lines


def _figures(text: str) -> dict[str, Any] | None:
    """Return what a line says, None where it is not the line of a step."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int or not isinstance(line.get("best", ""), str):
        return None
    figures = [line.get("loss"), line.get("seconds"), *(value for name, value in line.items() if name != "best")]
    return line if all(type(value) in (int, float) for value in figures) else None


def cut_metrics(path: Path, last_step: int) -> list[dict[str, Any]]:
    """Drop the lines of steps after `last_step`, which a resumed run will write again, and return the others."""
    kept = [line for line in read_metrics(path) if line["step"] <= last_step]
    content = "".join(json.dumps(line) + "\n" for line in kept)
    if path.exists() and path.read_bytes() != content.encode():
        write_atomically(path, content)
    return kept


class Best(NamedTuple):
    """The evaluation of a run that is best: its step, what chose it, such as "accuracy", and the value of that."""

    step: int
    criterion: str
    value: float

    def __str__(self) -> str:
        return f"{self.criterion} {self.value:#.4g} at step {self.step:,}"


def best_of(lines: Sequence[dict[str, Any]]) -> Best | None:
    """Return the best evaluation, as the run said it at the time; None where nothing was measured.

    A run of an earlier version did not say it; the lowest loss is taken then.
    """
    measured = [line for line in lines if "val_loss" in line]
    said = [line for line in measured if line.get("best") in line]
    if not measured:
        return None
    line = said[-1] if said else min(measured, key=lambda line: line["val_loss"])
    name = line.get("best", "val_loss")
    return Best(line["step"], name.removeprefix("val_"), line[name])
