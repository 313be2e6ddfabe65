"""Column files: a word on a line with what is known about it, in columns, and blank lines between sentences.

The rows tell what separates the columns, how many there are, whether the first one counts words, and which lines that begin
with # are comments. What they do not tell for certain is an error that names the line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path

from numformer._notices import amount
from numformer.data.files.lines import read_lines
from numformer.data.tagged.comments import begins_sentence, is_comment
from numformer.data.tagged.word_ids import count_words, follow
from numformer.errors import InputError

WordFields = tuple[str, ...]  # no list: tuples of texts are not looked through by the garbage collector time and again
Word = tuple[int, WordFields]  # the number of its line, and its fields
Sentence = tuple[str, list[Word] | InputError]  # where it begins, and its words, or what is wrong in it

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
WORD_NAMES = {"form", "word", "words", "token", "tokens"}  # of the column of words, in a header
TAG_NAMES = {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "upos", "xpos", "pos"}

_DOCUMENT = "-DOCSTART-"
_GLOBAL_COLUMNS = re.compile(r"# *global\.columns *= *(.+)")


class ColumnFile:
    """The sentences of a column file, and its layout as the rows show it.

    `width` is the number of columns, `tabs` tells whether TABs separate them, and `has_ids` whether the first one counts the
    words of a sentence; with `ids` False it is not asked. `names` are those of the columns, in lower case, where a header, a
    line "# global.columns = …" or CoNLL-U (10 columns of which the first counts) gives them. Raises InputError as
    `read_lines` does.
    """

    def __init__(self, path: str | Path, encoding: str = "utf-8", ids: bool = True) -> None:
        self.path = path
        self.num_comments = 0  # of a file without IDs, once its sentences have been read
        lines = list(read_lines(path, encoding))
        numbers = [n for n, line in enumerate(lines) if line.strip() and not line.startswith(_DOCUMENT)]
        numbers = [n for n in numbers if lines[n][0] != "#"] or numbers
        self.tabs = 2 * sum("\t" in lines[n].rstrip() for n in numbers) >= len(numbers)
        kept: dict[str, str] = {}  # the texts of fields, which repeat, each kept once
        rows = [tuple(map(kept.setdefault, row, row)) for row in (self._split(lines[n]) for n in numbers)]
        self.width = _usual_width(rows)
        self.names = self._declared_names(lines)
        if rows and not self.names and _is_header(header := self._trimmed(rows[0])) and len(header) == self.width:
            self.names = tuple(map(str.lower, header))
            del rows[0]
            lines[numbers.pop(0)] = ""
        self._last_values = {row[self.width - 1] for row in rows if len(row) >= self.width}
        self.has_ids = ids and self.width > 1 and count_words([row[0] for row in rows])
        self._lines = lines
        self._split_lines: list[WordFields] = [()] * len(lines)  # those of rows
        for number, row in zip(numbers, rows, strict=True):
            self._split_lines[number] = row
        if self.has_ids and not self.names and self.width == len(CONLLU):
            self.names = CONLLU

    @cached_property
    def sentences(self) -> list[Sentence]:
        """All sentences in order; a sentence with a malformed row is the error of the first one."""
        found: list[Sentence] = []
        rows: list[tuple[int, WordFields | InputError]] = []
        for number, row in chain(self._rows(), [(0, None)]):
            if row is not None:
                rows.append((number, row))
            elif rows:
                found.append((self.where(rows[0][0]), self._words(rows)))
                rows = []
        self._lines, self._split_lines = [], []  # they are not needed any more
        return found

    def values(self, column: int) -> set[str]:
        """Return the values of a column, numbered from 0, in the sentences that are well formed."""
        return {fields[column] for _, rows in self.sentences if isinstance(rows, list) for _, fields in rows}

    def _rows(self) -> Iterator[tuple[int, WordFields | InputError | None]]:
        """Yield every row with the number of its line, as an error where it is malformed; None ends a sentence."""
        begins, last_id = True, 0
        for number, (line, fields) in enumerate(zip(self._lines, self._split_lines, strict=True), 1):
            if not line.strip() or line.startswith(_DOCUMENT):
                begins = True
                yield number, None
                continue
            try:
                if line[0] == "#" and self._is_comment(line, begins):
                    if begins_sentence(line):
                        begins = True
                        yield number, None
                    continue
                fields = self._fitted(fields or self._split(line))
                if self.has_ids:
                    restarts, last_id = follow(fields[0], last_id)
                    if restarts:
                        yield number, None
            except InputError as error:
                yield number, InputError(f"{self.where(number)}: {error}")
            else:
                yield number, fields
            begins = False

    def _words(self, rows: list[tuple[int, WordFields | InputError]]) -> list[Word] | InputError:
        """Return the rows that are words; those with an ID such as 1-2 or 1.1, as CoNLL-U has them, are none."""
        words: list[Word] = []
        for number, fields in rows:
            if isinstance(fields, InputError):
                return fields
            if not self.has_ids or fields[0].isdecimal():
                words.append((number, fields))
        return words

    def _is_comment(self, line: str, begins: bool) -> bool:
        if self.has_ids:  # no row begins with # there
            return True
        fields = self._trimmed(tuple(line.split("\t")) if "\t" in line else _between_blanks(line.strip()))
        found = is_comment(line, fields, self.width, self._last_values, self.tabs, begins)
        self.num_comments += found
        return found

    def _fitted(self, fields: WordFields) -> WordFields:
        """Return the fields of a row if they are as many as in most rows; else raises InputError."""
        if len(fields) == self.width:
            return fields
        fields = self._trimmed(fields)
        if len(fields) != self.width:
            between = f" with {'TABs' if self.tabs else 'spaces'} between" if self.width > 1 else ""
            raise InputError(f"got {amount(len(fields), 'columns')}, expected {self.width}{between}, as in most rows")
        return fields

    def _split(self, line: str) -> WordFields:
        if not self.tabs:
            return _between_blanks(line)
        fields = tuple(line.split("\t"))
        return tuple(map(str.strip, fields)) if " " in line else fields

    def _trimmed(self, fields: WordFields) -> WordFields:
        """Return fields without the blank ones after the last column."""
        while len(fields) > self.width and not fields[-1].strip():
            fields = fields[:-1]
        return fields

    def _declared_names(self, lines: list[str]) -> tuple[str, ...]:
        declared = next(filter(None, map(_GLOBAL_COLUMNS.match, lines)), None)
        names = tuple(declared[1].lower().split()) if declared else ()
        if names and len(names) != self.width:
            raise InputError(
                f"{self.path} has {amount(self.width, 'columns')}, but # global.columns names {len(names)}"
            )
        return names

    def where(self, number: int) -> str:
        """Return what to call a line."""
        return f"{self.path}, line {number}"


def _between_blanks(line: str) -> WordFields:
    """Return what stands between spaces and TABs; other blanks, such as a no-break space, are part of a word."""
    return tuple(filter(None, line.replace("\t", " ").split(" ")))


def _usual_width(rows: list[WordFields]) -> int:
    """Return the number of columns of most rows, without those at the end that are blank in all of these."""
    if not rows:
        return 1
    width = Counter(map(len, rows)).most_common(1)[0][0]
    usual = [row for row in rows if len(row) == width]
    while width > 1 and not any(row[width - 1] for row in usual):
        width -= 1
    return width


def _is_header(fields: WordFields) -> bool:
    names = {field.lower() for field in fields}
    return not names.isdisjoint(WORD_NAMES) and not names.isdisjoint(TAG_NAMES)
