"""Tables of texts with something beside each: which columns are taken, and how their fields become an example."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from numformer.data.files.examples import Examples, collect
from numformer.data.files.rows import joined_text, json_field
from numformer.data.tables.reader import Fields, Table, read_table
from numformer.errors import InputError

Value = TypeVar("Value")
Texts = str | tuple[str, str]  # a text, or a pair of texts


def read_columns(
    path: str | Path,
    text: str | Sequence[str],
    use: str,
    name: str | None,
    value_of: Callable[[object, str], Value],
    *,
    known: Callable[[str], bool] | None = None,
    pair: str | None = None,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[tuple[Texts, Value]]:
    """Return the texts of a table, each with what `value_of` makes of another column, which is called `name` or its use.

    `text` is a column or several, whose texts are joined. When a column whose name is not given is missing among exactly
    two with a name, the other one is taken. With `pair` each text is one of a pair, whose second is the column of that name.
    `known` finds rows that a quotation mark has swallowed (see Table.watch).
    """
    texts = (text,) if isinstance(text, str) else tuple(text)
    table = read_table(path, encoding, [*(texts or ("text",)), *([pair] if pair else []), name or use])
    if not table.names:
        return collect(table, lambda where, row: ("", value_of(None, where)), skip_bad=skip_bad)
    texts, other = _choose(table, texts, use, name, pair)
    table.watch(other, known)

    def parse(where: str, row: Fields) -> tuple[Texts, Value]:
        fields = (json_field(row, column, where, "text") for column in texts)
        first = joined_text(fields, "text", where)
        second = () if pair is None else (joined_text([json_field(row, pair, where, "pair")], pair, where),)
        text: Texts = (first, *second) if second else first
        return text, value_of(json_field(row, other, where, use), where)

    found = collect(table, parse, skip_bad=skip_bad)
    found.notes += table.notes
    return found


def _choose(
    table: Table, texts: tuple[str, ...], use: str, name: str | None, pair: str | None
) -> tuple[tuple[str, ...], str]:
    """Return the names of the columns of text and of the other one; that of the second text of a pair is neither."""
    chosen, other = texts or ("text",), name or use
    if pair is not None:
        table.column(pair, "pair")
    if pair in chosen:
        raise InputError(f"{table.header}: the two texts of a pair cannot both be the column {pair!r}")
    named = [name for name in table.names if name and name != pair]
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
    if other in (*chosen, pair):
        raise InputError(f"{table.header}: the text and the {use} cannot both be the column {other!r}")
    return chosen, other
