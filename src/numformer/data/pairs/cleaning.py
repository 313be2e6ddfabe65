"""Sentence pairs out of a raw TSV file, cleaned and filtered.

Every row that is dropped is counted under one reason, the first that applies in the order of REASONS.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from numformer._notices import amount
from numformer.data.files.delimited import Lines, read_tab_row
from numformer.data.files.lines import read_lines
from numformer.data.pairs.reader import Pair
from numformer.errors import InputError

REASONS = {
    "not_utf8": "not in the encoding",
    "ragged": "too few columns",
    "other_language": "another language",
    "empty": "source or target empty",
    "identical": "source and target identical",
    "too_short": "too short",
    "too_long": "too long",
    "length_ratio": "lengths too different",
    "duplicate": "same as an earlier pair",
}
RATIO_SLACK = 10  # characters added to both lengths before they are compared, for "Go." and "Va-t'en !"
FIRST_WIDE = "\u1100"  # no character before this one is wide


@dataclass(frozen=True, kw_only=True)
class PairFilters:
    """Where a row has its pair, and which pairs are kept; columns are counted from 1, lengths in characters.

    Raises InputError for a setting out of range, or a language without its column and the reverse.
    """

    source_column: int = 1
    """Column of the source."""
    target_column: int = 2
    """Column of the target."""
    source_language: str | None = None
    """Code, such as eng, that source_language_column must hold."""
    source_language_column: int | None = None
    """Column of the source's language code."""
    target_language: str | None = None
    """Code that target_language_column must hold."""
    target_language_column: int | None = None
    """Column of the target's language code."""
    unicode_form: Literal["NFC", "NFKC"] = "NFC"
    """Unicode normalisation; NFKC also replaces ligatures, full-width letters and their like."""
    min_chars: int = 1
    """Shortest source or target."""
    max_chars: int = 300
    """Longest source or target."""
    max_ratio: float = 3.0
    """Largest ratio of the two lengths, 10 being added to both; Chinese, Japanese and Korean characters count twice."""
    keep_identical: bool = False
    """Keep pairs whose target is the source."""

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if column < 1:
                raise InputError(f"columns are counted from 1, got {name}={column}")
        if self.source_column == self.target_column:
            raise InputError(f"source and target must be two columns, got {self.source_column} for both")
        for side in ("source", "target"):
            language, column = getattr(self, f"{side}_language"), getattr(self, f"{side}_language_column")
            if (language is None) != (column is None):
                raise InputError(f"{side}_language and {side}_language_column go together: give both or neither")
        if not 1 <= self.min_chars <= self.max_chars:
            raise InputError(
                f"expected 1 <= min_chars <= max_chars, got min_chars={self.min_chars} and max_chars={self.max_chars}"
            )
        if not self.max_ratio >= 1:
            raise InputError(f"max_ratio must be at least 1, got {self.max_ratio}")
        if self.unicode_form not in ("NFC", "NFKC"):
            raise InputError(f"unicode_form must be NFC or NFKC, got {self.unicode_form!r}")

    @property
    def columns(self) -> dict[str, int]:
        """The columns that a row must have, by the names of their settings."""
        columns = {name: getattr(self, name) for name in vars(self) if name.endswith("_column")}
        return {name: column for name, column in columns.items() if column is not None}


@dataclass(frozen=True)
class Cleaned:
    """The pairs that are left of `rows` rows, in their order, and how many were dropped for each of REASONS."""

    pairs: list[Pair]
    rows: int
    dropped: dict[str, int]


def clean_pairs(rows: Iterable[Sequence[str]], filters: PairFilters | None = None) -> Cleaned:
    """Normalise the pairs in rows of columns and drop those that `filters` (the defaults unless given) does not want.

    A row with lone surrogates, as read_rows makes them of bytes that are not in the encoding, is dropped too.
    """
    filters = filters or PairFilters()
    dropped = dict.fromkeys(REASONS, 0)
    width = max(filters.columns.values())
    pairs: dict[Pair, None] = {}
    count = 0
    for row in rows:
        count += 1
        reason = _unusable(row, width, filters)
        if not reason:
            source, target = row[filters.source_column - 1], row[filters.target_column - 1]
            pair = normalise(source, filters.unicode_form), normalise(target, filters.unicode_form)
            reason = _unwanted(pair, filters) or ("duplicate" if pair in pairs else "")
        if reason:
            dropped[reason] += 1
        else:
            pairs[pair] = None
    return Cleaned(list(pairs), count, dropped)


def clean_file(
    path: str | Path, filters: PairFilters, advance: Callable[[int], None] | None = None, encoding: str = "utf-8"
) -> Cleaned:
    """Clean the pairs of a TSV file; `advance` hears of the bytes read.

    Raises InputError when the file cannot be read or is empty, and when nothing is left of it, saying why.
    """
    rows = read_rows(path, advance, encoding)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{path} holds no rows")
    cleaned = clean_pairs(chain([first], rows), filters)
    if cleaned.pairs:
        return cleaned
    worst = max(REASONS, key=lambda reason: cleaned.dropped[reason])
    detail = ""
    if worst == "ragged":
        name, column = max(filters.columns.items(), key=lambda item: item[1])
        line = "\t".join(first)[:100]
        detail = f", {name} is {column}; columns of the first row: {len(first)} ({line!r})"
    raise InputError(
        f"{path}: no pair is left, {cleaned.dropped[worst]:,} of {amount(cleaned.rows, 'rows')} dropped for this: "
        f"{REASONS[worst]}{detail}"
    )


def read_rows(
    path: str | Path, advance: Callable[[int], None] | None = None, encoding: str = "utf-8"
) -> Iterator[list[str]]:
    """Yield the columns of each line of a TSV file that is not empty, bytes that are not in the encoding as lone surrogates.

    Fields may be quoted as `unquoted` says. Raises InputError when the file cannot be read.
    """
    lines = Lines(read_lines(path, encoding, "surrogateescape", advance))
    while (row := read_tab_row(lines)).lines:
        yield row.fields


def normalise(text: str, unicode_form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """Return text without control and invisible characters, in a Unicode form, each run of any spaces as one."""
    return " ".join(unicodedata.normalize(unicode_form, text.translate(_INVISIBLE)).split())


def _unusable(row: Sequence[str], width: int, filters: PairFilters) -> str:
    """Return why a row has no pair of the wanted languages, or ""."""
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return "not_utf8"
    if len(row) < width:
        return "ragged"
    for language, column in (
        (filters.source_language, filters.source_language_column),
        (filters.target_language, filters.target_language_column),
    ):
        if column is not None and normalise(row[column - 1]) != language:
            return "other_language"
    return ""


def _unwanted(pair: Pair, filters: PairFilters) -> str:
    """Return why a normalised pair is not kept, or ""."""
    shorter, longer = sorted(map(len, pair))
    if shorter == 0:
        return "empty"
    if pair[0] == pair[1] and not filters.keep_identical:
        return "identical"
    if shorter < filters.min_chars:
        return "too_short"
    if longer > filters.max_chars:
        return "too_long"
    narrower, wider = sorted(map(_width, pair))
    return "length_ratio" if wider + RATIO_SLACK > filters.max_ratio * (narrower + RATIO_SLACK) else ""


def _width(text: str) -> int:
    """Return the length of a text, where wide characters, each of which says as much as several letters, count as two."""
    if max(text) < FIRST_WIDE:
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


# Control characters but those that are spaces (split takes care of these), soft hyphen, zero-width space, word joiner,
# byte order mark; the joiners U+200C and U+200D stay, some scripts are spelt with them.
_INVISIBLE = dict.fromkeys(
    [code for code in (*range(0x20), *range(0x7F, 0xA0)) if not chr(code).isspace()] + [0xAD, 0x200B, 0x2060, 0xFEFF]
)
