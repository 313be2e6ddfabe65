"""Tables by the names of their columns: CSV and TSV with a header, JSON Lines and arrays of JSON objects, row by row."""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from pathlib import Path

from numformer._notices import listed
from numformer.data.files.delimited import Line, Lines, QuoteError, Row, read_row, read_tab_row
from numformer.data.files.lines import read_lines, suffix_of
from numformer.data.files.rows import json_rows, wrong_columns
from numformer.errors import InputError

DELIMITED = (".csv", ".tsv")
TABLES = (*DELIMITED, ".jsonl", ".json")
LOOKED_AT = 1000  # objects of JSON whose keys are taken for the columns
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "TABs", "|": "bars"}
_SWALLOWED = (
    "the quotation mark opened here takes the next lines into its field, which are rows by themselves; double it where it "
    "is text, and give texts that do hold such lines as JSON Lines"
)
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[ ,;]*')  # how Excel is told the delimiter

Fields = dict[str, object]
RowsOfTable = Iterator[tuple[str, Fields | InputError]]


class Table:
    """The rows of a file, to be iterated over once: each with where it stands, as a dict or as the error that it is.

    `names` are those of the columns (in JSON the keys of the first thousand objects), `header` is where they stand. `keys`
    are what the rows have the columns under, so that none is lost where a name is blank or stands twice; `is_regular` tells
    whether all rows have them, as far as is known. `notes` say what was understood besides, some of it after the last row.
    """

    def __init__(self, header: str, names: list[str], rows: RowsOfTable, is_regular: bool = True) -> None:
        self.header, self.names, self.rows, self.is_regular = header, names, rows, is_regular
        self.keys = _keys(names)
        self.notes: list[str] = []

    def __iter__(self) -> RowsOfTable:
        return self.rows

    def column(self, name: str, use: str) -> str:
        """Return the name of a column that is there once; raises InputError, naming the option that chooses another."""
        if self.names.count(name) == 1:
            return name
        if name in self.names:
            raise InputError(f"{self.header}: the header names the column {name!r} more than once")
        columns = listed(filter(None, self.names))
        raise InputError(
            f"{self.header}: there is no column {name!r} for the {use} (the columns are {columns}); "
            f"choose another with --{use}"
        )

    def watch(self, column: str, known: Callable[[str], bool] | None = None) -> None:
        """Take a line for a row of its own, which a quotation mark has swallowed, where this column holds what is `known`.

        By default that is what it holds in the rows that stand on one line.
        """


def read_table(path: str | Path, encoding: str = "utf-8", wanted: Sequence[str] = ()) -> Table:
    """Return the rows of a .csv, .tsv, .jsonl or .json file (or one of these in .gz) as they are read.

    Names and fields come without blanks around them; empty lines are no rows. The delimiter of CSV is what a first line such
    as `sep=;` says, else the one of comma, semicolon, TAB and bar that finds most of the `wanted` columns in the header. A
    line of TSV is a row. Only a JSON array is read whole. Raises InputError for a file that cannot be read, and for a header
    that two delimiters split.
    """
    if suffix_of(path) in DELIMITED:
        return DelimitedTable(path, encoding, wanted)
    if suffix_of(path) in TABLES:
        return _json_table(path, encoding)
    raise InputError(f"a table comes in a .csv, .tsv, .jsonl or .json file, got {path}")


def _keys(names: Sequence[str]) -> list[str]:
    """Return the names of columns, "column 5" for a blank one and "note (column 5)" for one that was there before."""
    keys: dict[str, None] = {}
    for number, name in enumerate(names, 1):
        keys[f"{name} (column {number})" if name in keys else name or f"column {number}"] = None
    return list(keys)


def _json_table(path: str | Path, encoding: str) -> Table:
    """Return the objects of a file, of which a thousand are looked at first: the first one may be unlike the others."""
    rows = json_rows(path, encoding)
    first: list[tuple[str, Fields | InputError]] = list(islice(rows, LOOKED_AT))
    objects = [(where, row) for where, row in first if not isinstance(row, InputError)]
    if not objects:
        return Table(str(path), [], chain(first, rows))
    names = list(dict.fromkeys(name for _, row in objects for name in row))
    return Table(objects[0][0], names, chain(first, rows), all(len(row) == len(names) for _, row in objects))


class DelimitedTable(Table):
    """The rows of CSV or TSV; those that cannot be read are errors, after which reading goes on with the next line."""

    def __init__(self, path: str | Path, encoding: str, wanted: Sequence[str]) -> None:
        self.path, self.encoding, self.wanted = path, encoding, wanted
        self.lines = Lines(read_lines(path, encoding))
        usual = "\t" if suffix_of(path) == ".tsv" else ","
        self.delimiter = self._told() or self._found(usual)
        self.line_is_row = self.delimiter == usual == "\t"
        try:
            header = self._read()
        except QuoteError as error:
            raise InputError(f"{self._where(error.lines[-1:])}: {error}") from None
        super().__init__(self._where(header.lines), [name.strip() for name in header.fields], self._rows())
        if self.delimiter != usual:
            self.notes.append(f"columns between {DELIMITERS.get(self.delimiter, repr(self.delimiter))}")
        self.needed = max((i for i, name in enumerate(self.names, 1) if name), default=0)
        self.watched: tuple[str, Callable[[str], bool]] | None = None

    def watch(self, column: str, known: Callable[[str], bool] | None = None) -> None:
        """Take a line for a row of its own where this column holds what is known."""
        values = cache(lambda: self._values_on_one_line(column))
        self.watched = column, known or (lambda value: value in values())

    def _told(self) -> str | None:
        """Return the delimiter that the first line tells Excel."""
        first = next(self.lines)
        told = _SEPARATOR_LINE.fullmatch(first[1])
        if told is None:
            self.lines.give_back([first])
        return told and told[1]

    def _found(self, usual: str) -> str:
        """Return the delimiter that finds the wanted columns in the header, or most of them."""
        found: dict[str, int] = {}
        header = ""
        for delimiter in DELIMITERS:
            try:
                fields, lines, _ = read_row(self.lines, delimiter)
            except QuoteError as error:
                fields, lines = [], error.lines
            self.lines.give_back(lines)
            if len(fields) > 1:
                header = lines[0][1]
                found[delimiter] = len({field.strip() for field in fields} & set(self.wanted))
        if usual == "\t" and usual in found:
            return usual
        best = [delimiter for delimiter, count in found.items() if count == max(found.values())]
        if len(best) > 1:
            between = " or ".join(DELIMITERS[each] for each in best)
            raise InputError(
                f"{self.path}: the header {textwrap.shorten(header, 120)!r} can be split at {between}; expected the columns "
                f"{' and '.join(map(repr, self.wanted)) or 'of a table'} in one way; --text and the like name others"
            )
        return best[0] if best else usual

    def _rows(self) -> RowsOfTable:
        over = 0
        for row in self._records():
            where = self._where(row.lines)
            if isinstance(row, QuoteError):
                where = self._where(row.lines[-1:])
                yield where, InputError(f"{where}: {row}")
            elif self._swallows(row):
                self.lines.give_back(row.lines[1:])
                yield where, InputError(f"{where}: {_SWALLOWED}")
            else:
                over += len(row.lines) > 1
                yield where, self._named(row.fields, where)
        if over:
            self.notes.append(f"{over:,} over several lines")

    def _records(self) -> Iterator[Row | QuoteError]:
        """Yield rows, and the errors of those that have none; what was given back comes again."""
        while True:
            try:
                row = self._read(len(self.names))
            except QuoteError as error:
                yield error
                continue
            if not row.lines:
                return
            yield row

    def _read(self, width: int | None = None) -> Row:
        """Return the next row, which has no lines at the end of the file."""
        return read_tab_row(self.lines) if self.line_is_row else read_row(self.lines, self.delimiter, width)

    def _where(self, lines: list[Line]) -> str:
        return f"{self.path}, line {lines[0][0]}" if lines else str(self.path)

    def _named(self, fields: list[str], where: str) -> Fields | InputError:
        """Return the fields of a row by their names; blank ones beyond the header do not count, and others are an error."""
        fields, width = [field.strip() for field in fields], len(self.names)
        if not any(fields):
            return dict.fromkeys(self.keys, "")
        if len(fields) < self.needed or any(fields[width:]):
            return wrong_columns(len(fields), f"{width} as in the header", where)
        return dict(zip(self.keys, fields + [""] * (width - len(fields)), strict=False))

    def _swallows(self, row: Row) -> bool:
        """Tell whether a field over several lines holds a row, in its first line or, where it stands last, in its second."""
        if self.watched is None or row.opened is None or row.opened.line:
            return False
        line, position = row.lines[0][1], row.opened.position
        within = [text for _, text in row.lines[1:-1]]
        if self.names.index(self.watched[0]) >= row.opened.column:
            within.insert(0, line[:position] + line[position + 1 :])
        else:
            within.append(row.lines[-1][1])
        return any(map(self._is_row, within))

    def _is_row(self, line: str) -> bool:
        """Tell whether a line is a row by itself, with a known value in the column that is watched."""
        assert self.watched is not None
        column, known = self.watched
        try:
            fields = self._named(read_row(Lines([line]), self.delimiter).fields, "")
        except QuoteError:
            return False
        return not isinstance(fields, InputError) and bool(fields[column]) and known(str(fields[column]))

    def _values_on_one_line(self, column: str) -> set[str]:
        """Return what a column holds in the rows that stand on one line, for which the file is read once more."""
        index, again = self.names.index(column), DelimitedTable(self.path, self.encoding, self.wanted)
        rows = (row for row in again._records() if isinstance(row, Row) and len(row.lines) == 1)
        return {row.fields[index].strip() for row in rows if index < len(row.fields)}
