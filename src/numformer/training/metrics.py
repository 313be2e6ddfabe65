"""The record of a run: one JSON object a line, in metrics.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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

    Raises InputError for a line that no run has written.
    """
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            raise InputError(f"{path} is not the record of a run: {text[:60]!r}")
        lines.append(line)
    return lines


def cut_metrics(path: Path, last_step: int) -> list[dict[str, Any]]:
    """Drop the lines of steps after `last_step`, which a resumed run will write again, and return the others."""
    kept = [line for line in read_metrics(path) if line["step"] <= last_step]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept
