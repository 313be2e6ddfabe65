"""The examples that a model gets wrong, in a table for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numformer._notices import amount, say
from numformer.data.tables.writer import writing_table


@dataclass(frozen=True, kw_only=True)
class MistakeOptions:
    """What else to make of a measurement."""

    errors: Path | None = None
    """Write the examples that are predicted wrongly into this .csv, .tsv or .jsonl file, the surest first."""


def places_of(examples: Sequence[Any]) -> Sequence[str]:
    """Return where examples stand in their file, or their numbers, from 0, where they come from a list."""
    return getattr(examples, "places", None) or [f"example {number}" for number in range(len(examples))]


def write_mistakes(
    path: str | Path, names: tuple[str, ...], rows: Iterable[Mapping[str, Any]], what: str = "wrong"
) -> None:
    """Write what is wrong, with the highest number in the last column first, and say on stderr how much it is.

    `what` calls the rows otherwise where not all of them are wrong, such as "examples".
    """
    worst_first = sorted(rows, key=lambda row: row[names[-1]], reverse=True)
    with writing_table(path, names) as write:
        for row in worst_first:
            write(row)
    say(f"{path}: {amount(len(worst_first), what)}, by {names[-1]}")
