"""What a person sees while a run trains: one live line in a terminal, a plain line per evaluation elsewhere."""

from __future__ import annotations

import sys
from typing import Any, Self


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def update(self, line: dict[str, Any]) -> None:
        """Take the figures of a step."""

    def say(self, text: str) -> None:
        """Take a message."""


class Progress(Silent):
    """Writes to stderr: step, loss, validation loss, tokens per second and time left."""

    def __init__(self, first_step: int, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.console = Console(stderr=True, highlight=False)
        self.bar = Bar(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=steps, completed=first_step)
        self.val_loss: float | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.stop()

    def update(self, line: dict[str, Any]) -> None:
        """Show the figures of a step."""
        self.val_loss = line.get("val_loss", self.val_loss)
        validation = "" if self.val_loss is None else f"  validation {self.val_loss:.3f}"
        figures = f"loss {line['loss']:.3f}{validation}  {line['tokens_per_s']:,.0f} tokens/s"
        self.bar.update(self.task, completed=line["step"], description=figures)
        if "val_loss" in line and not self.console.is_terminal:
            print(f"step {line['step']}  {figures}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a message above the live line."""
        self.console.print(text, soft_wrap=True, markup=False)
