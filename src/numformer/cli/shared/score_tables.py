"""Scores as tables for people: the figures, those of every class, and what was taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST_NAME = 20  # columns of a terminal that the name of a class gets in a matrix
NARROWEST = 3  # columns that a class of a matrix needs
MOST_MISTAKES = 10  # that are listed in place of a matrix without room


def print_scores(scores: Mapping[str, Any], file: IO[str], width: int | None = None) -> None:
    """Print what `evaluate` returns, `width` columns wide or as wide as the terminal: figures, classes, confusions."""
    from rich.console import Console

    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)  # labels are no markup
    figures = _table("")
    figures.add_column("", overflow="fold")
    for name, value in scores.items():
        if not isinstance(value, (Mapping, list)):
            figures.add_row(name.replace("_", " "), _figure(value))
    console.print(figures)
    for name, value in scores.items():
        if isinstance(value, Mapping) and value:
            console.print("", _table_of_classes(name, value), sep="\n")
    if "confusion" in scores:
        _print_confusion(scores["confusion"], list(scores["classes"]), console)


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table_of_classes(name: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    columns = list(next(iter(rows.values())))
    table = _table(name, *columns)
    for label, row in rows.items():
        table.add_row(label, *(_short_figure(row[column]) for column in columns))
    return table


def _short_figure(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def _print_confusion(counts: Sequence[Sequence[int]], labels: list[str], console: Console) -> None:
    """Print the matrix where it has room, else the mistakes that were made most often."""
    from rich.cells import cell_len
    from rich.text import Text

    widest = min(LONGEST_NAME, max(map(cell_len, labels)))
    room = (console.width - widest - 2) // len(labels) - 2
    if room < max(NARROWEST, len(f"{max(map(max, counts)):,}")):
        console.print("\nmost frequent mistakes", _table_of_mistakes(counts, labels), sep="\n")
        return
    table = _table("", *(_cut(label, room) for label in labels))
    for number, (label, row) in enumerate(zip(labels, counts, strict=True)):
        cells = [Text(f"{count:,}", style="bold" if i == number else "") for i, count in enumerate(row)]
        table.add_row(_cut(label, widest), *cells)
    console.print("\nconfusion: gold labels down, predicted ones across", table, sep="\n")


def _table_of_mistakes(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Table:
    pairs = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count]
    table = _table("gold", "predicted", "times")
    for count, i, j in sorted(pairs, key=lambda pair: -pair[0])[:MOST_MISTAKES]:
        table.add_row(labels[i], labels[j], f"{count:,}")
    return table


def _cut(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _table(*names: str) -> Table:
    """Return a table without lines, whose first column has names and whose others have numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=any(names), padding=(0, 2, 0, 0))
    table.add_column(names[0], overflow="fold")
    for name in names[1:]:
        table.add_column(name, justify="right", no_wrap=True, overflow="ellipsis")
    return table
