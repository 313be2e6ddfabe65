"""Tables of texts with something beside each: which columns are taken, and how their fields become an example."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from numformer.data.files.examples import Examples, collect
from numformer.data.files.rows import joined_text, json_field
from numformer.data.tables.reader import Fields, Table, read_table
from numformer.errors import InputError

Value = TypeVar("Value")


def read_columns(
    path: str | Path,
    text: str | Sequence[str],
    use: str,
    name: str | None,
    value_of: Callable[[object, str], Value],
    *,
    known: Callable[[str], bool] | None = None,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[tuple[str, Value]]:
    """Return the texts of a table, each with what `value_of` makes of another column, which is called `name` or its use.

    `text` is a column or several, whose texts are joined. When a column whose name is not given is missing among exactly
    two with a name, the other one is taken. `known` finds rows that a quotation mark has swallowed (see Table.watch).
    """
    texts = (text,) if isinstance(text, str) else tuple(text)
    table = read_table(path, encoding, [*(texts or ("text",)), name or use])
    if not table.names:
        return collect(table, lambda where, row: ("", value_of(None, where)), skip_bad=skip_bad)
    texts, other = _choose(table, texts, use, name)
    table.watch(other, known)

    def parse(where: str, row: Fields) -> tuple[str, Value]:
        fields = (json_field(row, column, where, "text") for column in texts)
        return joined_text(fields, "text", where), value_of(json_field(row, other, where, use), where)

    found = collect(table, parse, skip_bad=skip_bad)
    found.notes += table.notes
    return found


def _choose(table: Table, texts: tuple[str, ...], use: str, name: str | None) -> tuple[tuple[str, ...], str]:
    """Return the names of the columns of text and of the other one."""
    chosen, other = texts or ("text",), name or use
    named = [name for name in table.names if name]
    if len(named) == 2 and len(chosen) == 1 and table.is_regular:
        one, two = named
        rest = {one: two, two: one}
        if not texts and chosen[0] not in rest and other in rest:
            chosen = (rest[other],)
        elif not name and other not in rest and chosen[0] in rest:
            other = rest[chosen[0]]
    for column in chosen:
        table.column(column, "text")
    table.column(other, use)
    if other in chosen:
        raise InputError(f"{table.header}: the text and the {use} cannot both be the column {other!r}")
    return chosen, other
