"""One line of a terminal that is drawn again and again: what does not fit the width goes, the least needed first.

Only who shows such a line imports this file, since it needs rich.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table

BAR = 20  # columns


class Piece(NamedTuple):
    """A text of the line, and its rank: the highest goes first, 0 stays in the narrowest terminal."""

    text: str
    rank: int = 0


class LiveLine(Progress):
    """How far one piece of work is, in one line on stderr as wide as the terminal is at the moment.

    It shows what is done, how much of it (`as_share`: in per cent), a bar, the `pieces` that are set, and the time left.
    """

    def __init__(
        self,
        title: str,
        total: float | None,
        completed: int = 0,
        *,
        as_share: bool = False,
        transient: bool = True,
        console: Console | None = None,
    ) -> None:
        console = console or Console(stderr=True, highlight=False)
        super().__init__(console=console, disable=not console.is_terminal, transient=transient)
        self.as_share = as_share
        self.pieces: Sequence[Piece] = ()
        self.number = self.add_task(title, total=total, completed=completed)

    def begin(self, title: str, total: float | None) -> None:
        """Show another piece of work in place of this one."""
        self.remove_task(self.number)
        self.number = self.add_task(title, total=total)

    @classmethod
    def get_default_columns(cls) -> tuple[ProgressColumn, ...]:
        """Return none: the line is laid out as a whole."""
        return ()

    def get_renderables(self) -> Iterable[Any]:
        """Yield the line, for the width of this moment; none before there is a task."""
        yield from (self._line(task) for task in self.tasks)

    def _line(self, task: Task) -> Table:
        bar = Piece(" " * BAR, max((piece.rank for piece in self.pieces), default=2))
        line = [*self._title(task), bar, *self.pieces, Piece(_time(task.time_remaining)), Piece("left", 1)]
        kept = fitting(line, self.console.width)
        drawn = ProgressBar(total=task.total, completed=task.completed, width=BAR)
        table = Table.grid(padding=(0, 1))
        for _ in kept:
            table.add_column(no_wrap=True, overflow="crop")
        table.add_row(*(drawn if piece is bar else piece.text for piece in kept))
        return table

    def _title(self, task: Task) -> list[Piece]:
        count = f"{task.percentage:.0f}%" if self.as_share else f"{task.completed:.0f}/{task.total or 0:.0f}"
        return [Piece(task.description, 1), Piece("" if task.total is None else count)]


def fitting(line: Sequence[Piece], width: int) -> list[Piece]:
    """Return the pieces of a line that fit a width with a column between them, the least needed ones left out."""
    kept = [piece for piece in line if piece.text]
    for rank in sorted({piece.rank for piece in kept} - {0}, reverse=True):
        for piece in [each for each in kept if each.rank == rank][::-1]:
            if sum(cell_len(each.text) + 1 for each in kept) - 1 <= width:
                return kept
            kept = [each for each in kept if each is not piece]
    return kept


def _time(seconds: float | None) -> str:
    """Return a time as hours, minutes and seconds."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
