"""What a person sees while a run trains: one live line in a terminal, a plain line per evaluation elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

PATIENCE = 2.0  # A bar appears only for somebody who has waited for so many seconds.
WIDE = 110  # A terminal of so many columns has room for the bar and the speed.
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
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        def fixed(width: int) -> Column:
            return Column(min_width=width, no_wrap=True)  # Where room is short, the figures in the middle give way.

        self.console = Console(stderr=True, highlight=False)
        self.bar = Bar(
            TextColumn("step", table_column=fixed(4)),
            MofNCompleteColumn(table_column=fixed(2 * len(str(steps)) + 1)),
            *([BarColumn(bar_width=20)] if self.console.width >= WIDE else []),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=fixed(7)),
            TextColumn("left", table_column=fixed(4)),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=steps, completed=first_step)
        self.unit = unit
        self.validation = ""

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.stop()

    def update(self, line: dict[str, Any]) -> None:
        """Show the figures of a step in the live line; outside a terminal, those with a validation loss as a line."""
        if "val_loss" in line:
            others = [
                f", {name.removeprefix('val_')} {value:.3f}"
                for name, value in line.items()
                if name.startswith("val_") and name != "val_loss"
            ]
            self.validation = f"  validation {line['val_loss']:.3f}{''.join(others)}"
        figures = f"loss {line['loss']:.3f}{self.validation}"
        if self.console.width >= WIDE or not self.console.is_terminal:
            figures += f"  {line['tokens_per_s']:,.0f} {self.unit}/s"
        self.bar.update(self.task, completed=line["step"], description=figures)
        if "val_loss" in line and not self.console.is_terminal:
            print(f"step {line['step']}  {figures}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a line of plain text above the live line."""
        self.console.print(text, soft_wrap=True, markup=False)


def track(items: Iterable[Item], total: int, show: bool = True) -> Iterator[Item]:
    """Yield items, with a bar on stderr for a person who has waited for two seconds."""
    if not show or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    start, done, rest = time.monotonic(), 0, iter(items)
    for item in rest:
        yield item
        done += 1
        if time.monotonic() - start > PATIENCE:
            break
    yield from bar(rest, "", total=total, completed=done, console=Console(stderr=True), transient=True)
