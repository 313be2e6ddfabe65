"""Rows of delimited text: on one line as in TSV, or over several by the quotation marks of CSV."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

MAX_ROW = 1 << 24  # characters; a quoted field that is longer has lost its end

_DOUBLED = "(a quotation mark inside a quoted field is written twice)"

Line = tuple[int, str]  # its number in the file, from 1, and its text

_QUOTED = re.compile(r'[^"]*+(?:""[^"]*+)*+')  # the inside of a quoted field, whose quotation marks are doubled


class Lines:
    """The lines of a file with their numbers, which can be given back to be read again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = enumerate(lines, 1)
        self._returned: list[Line] = []  # the next one last

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        return self._returned.pop() if self._returned else next(self._lines)

    def give_back(self, lines: Sequence[Line]) -> None:
        """Put lines in front of those to come."""
        self._returned.extend(reversed(lines))


class OpenQuote(NamedTuple):
    """A quotation mark that does not close on its line: which line of the row, where in it, and in which column."""

    line: int
    position: int
    column: int


class Row(NamedTuple):
    """The fields of a row, the lines it stands on, and its first quotation mark that reaches over a line's end."""

    fields: list[str]
    lines: list[Line]
    opened: OpenQuote | None = None


class QuoteError(Exception):
    """A quotation mark that does not fit; `lines` are those of its row, up to the one where it opened."""

    def __init__(self, lines: list[Line], reason: str) -> None:
        super().__init__(reason)
        self.lines = lines


class _Syntax(NamedTuple):
    opening: re.Pattern[str]
    plain: re.Pattern[str]
    after: re.Pattern[str]


@cache
def _syntax(delimiter: str) -> _Syntax:
    end = re.escape(delimiter)
    blank = rf"(?:(?!{end})\s)*+"
    return _Syntax(re.compile(f'{blank}"'), re.compile(f"(?:(?!{end}).)*+", re.DOTALL), re.compile(f"{blank}({end}|$)"))


def _next_filled(lines: Iterable[Line], delimiter: str) -> Line | None:
    """Return the next line that is a row; one with nothing but spaces, and no delimiter, is none."""
    return next((line for line in lines if line[1].strip() or delimiter in line[1]), None)


def read_tab_row(lines: Lines) -> Row:
    """Return the next row of TSV, of which a line is a whole one; at the end one without fields and lines."""
    line = _next_filled(lines, "\t")
    return Row([unquoted(field) for field in line[1].split("\t")], [line]) if line else Row([], [])


def read_row(lines: Lines, delimiter: str, width: int | None = None) -> Row:
    """Return the next row by the rules of CSV; at the end one without fields and lines.

    A quoted field may hold delimiters and line breaks, and a doubled quotation mark for one; blanks around it are skipped. A
    quotation mark inside a field that does not begin with one is text. Raises QuoteError for a quotation mark that is not
    closed, is followed by text, or stands beyond `width` columns and reaches over the line's end; the lines after the one
    where it opened are then read again as rows.
    """
    first = _next_filled(lines, delimiter)
    if first is None:
        return Row([], [])
    if '"' not in first[1]:
        return Row(first[1].split(delimiter), [first])
    return _quoted_row(lines, first, delimiter, width)


def _quoted_row(lines: Lines, first: Line, delimiter: str, width: int | None) -> Row:
    syntax = _syntax(delimiter)
    row = Row([], [first])
    line, position = first[1], 0
    while True:
        opening = syntax.opening.match(line, position)
        if opening is None:
            plain = syntax.plain.match(line, position)
            assert plain is not None
            row.fields.append(plain[0])
            ended, position = plain.end() == len(line), plain.end() + len(delimiter)
        else:
            begun = OpenQuote(len(row.lines) - 1, opening.end() - 1, len(row.fields))
            field, position = _quoted_field(lines, row, opening.end(), begun, width)
            if len(row.lines) - 1 > begun.line and row.opened is None:
                row = row._replace(opened=begun)
            line = row.lines[-1][1]
            after = syntax.after.match(line, position)
            if after is None:
                found = line[position : position + 20].strip()
                raise _given_back(
                    lines, row, begun, f"after the end of the field quoted here comes {found!r} {_DOUBLED}"
                )
            row.fields.append(field)
            ended, position = not after[1], after.end()
        if ended:
            return row


def _quoted_field(lines: Lines, row: Row, position: int, begun: OpenQuote, width: int | None) -> tuple[str, int]:
    """Return a field from behind its opening quotation mark, and the position behind the closing one, in its line."""
    parts, size = [], 0
    while True:
        line = row.lines[-1][1]
        inside = _QUOTED.match(line, position)
        assert inside is not None
        parts.append(inside[0])
        if inside.end() < len(line):
            return "\n".join(parts).replace('""', '"'), inside.end() + 1
        size += len(line)
        following = next(lines, None)
        if following is not None:
            row.lines.append(following)
        if following is None or size > MAX_ROW or (width is not None and len(row.fields) >= width):
            raise _given_back(lines, row, begun, "the quotation mark opened here is never closed")
        position = 0


def _given_back(lines: Lines, row: Row, begun: OpenQuote, reason: str) -> QuoteError:
    lines.give_back(row.lines[begun.line + 1 :])
    return QuoteError(row.lines[: begun.line + 1], reason)


def unquoted(field: str) -> str:
    """Return a field of TSV without blanks and quotation marks around it.

    Spreadsheets and pandas quote a field that holds a quotation mark, and double those inside. Where those inside are not
    doubled nobody has quoted the field, and it stays as it stands.
    """
    field = field.strip()
    if len(field) < 2 or not (field[0] == field[-1] == '"') or '"' in field[1:-1].replace('""', ""):
        return field
    return field[1:-1].replace('""', '"')


def quoted(field: str) -> str:
    """Return a field as TSV has it: in quotation marks where `unquoted` would take its own away."""
    return field if unquoted(field) == field.strip() else '"' + field.replace('"', '""') + '"'
