"""What a person sees while a run trains: one live line in a terminal, a plain line per evaluation elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

from numformer._notices import say

SHOWN_AFTER = 2.0  # A bar appears only for somebody who has waited for so many seconds.
Item = TypeVar("Item")


class Silent:
    """Takes what Progress shows and shows none of it: for runs without an audience, and the base of Progress."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def update(self, line: dict[str, Any]) -> None:
        """Take the figures of a step, those of a line of metrics.jsonl."""

    def say(self, text: str) -> None:
        """Take a message, one line of plain text."""


class Progress(Silent):
    """Writes to stderr: step, loss, validation loss, tokens per second and time left."""

    def __init__(self, first_step: int, steps: int, unit: str) -> None:
        from numformer.training._live import LiveLine

        self.line = LiveLine("step", steps, first_step, transient=False)
        self.unit = unit
        self.validation = ["", ""]  # the loss, and what else was measured

    def __enter__(self) -> Self:
        self.line.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.line.stop()

    def update(self, line: dict[str, Any]) -> None:
        """Show the figures of a step in the live line; outside a terminal, those with a validation loss as a line."""
        from numformer.training._live import Piece

        if "val_loss" in line:
            others = [
                f"{name.removeprefix('val_')} {value:.3f}"
                for name, value in line.items()
                if name.startswith("val_") and name != "val_loss"
            ]
            self.validation = [f"validation {line['val_loss']:.3f}", ", ".join(others)]
        figures = [f"loss {line['loss']:.3f}", *self.validation, f"{line['tokens_per_s']:,.0f} {self.unit}/s"]
        self.line.pieces = [Piece(text, rank) for rank, text in enumerate(figures, start=2)]
        self.line.update(self.line.number, completed=line["step"])
        if "val_loss" in line and not self.line.console.is_terminal:
            text = "  ".join(figure for figure in figures if figure)
            say(f"step {line['step']}  {text}")

    def say(self, text: str) -> None:
        """Print a line of plain text above the live line."""
        self.line.console.print(text, soft_wrap=True, markup=False)


def track(items: Iterable[Item], total: int, show: bool = True) -> Iterator[Item]:
    """Yield items, with a bar on stderr for a person who has waited for two seconds."""
    if not show or not sys.stderr.isatty():
        yield from items
        return
    from numformer.training._live import LiveLine

    start, done, rest = time.monotonic(), 0, iter(items)
    for item in rest:
        yield item
        done += 1
        if time.monotonic() - start > SHOWN_AFTER:
            break
    with LiveLine("", total, done, as_share=True) as line:
        for item in rest:
            yield item
            line.advance(line.number)
