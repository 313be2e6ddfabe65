"""Sentences with a tag for every word, as in part-of-speech tagging and named-entity recognition."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from numformer._notices import amount
from numformer.data.files.examples import Examples, LeftOut, collect
from numformer.data.files.rows import are_clean, clean_text
from numformer.data.tagged.column_choice import AUTO, FILLERS, called, tag_column, word_column_of
from numformer.data.tagged.column_files import ColumnFile, Word
from numformer.errors import InputError

Example = TypeVar("Example")


@dataclass(frozen=True)
class TaggedSentence:
    """The words of a sentence and their tags, lists of one length."""

    words: list[str]
    tags: list[str]


def read_conll(
    path: str | Path,
    *,
    column: str | int = AUTO,
    word_column: str | int = AUTO,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[TaggedSentence]:
    """Return the sentences of a file with one word on a line and blank lines between sentences.

    Columns stand between TABs, or between spaces. Both columns can be given by number, from 1, or by name where the file
    has names: in CoNLL-U (also "ner", what NER= says in the last column, O where it is absent), after
    "# global.columns =", or in a header. Else the word is the first column, or the second where the first counts words;
    the tag is the UPOS of CoNLL-U, the only column of entities where the first one counts words, or the last column.
    Comments, -DOCSTART- lines, multi-word tokens and empty nodes are no words. Raises InputError, naming the line, for rows
    of different lengths and for blank words and tags; also where the columns are not certain, and for a file without a
    sentence or without tags in the column.
    """
    file = _open(path, word_column, encoding, skip_bad)
    word = word_column_of(file, word_column, other=column)
    tag, tag_of = tag_column(file, column, word)

    def sentence_of(where: str, rows: list[Word]) -> TaggedSentence:
        return TaggedSentence(_filled(file, rows, word, "word"), list(map(tag_of, _filled(file, rows, tag, "tag"))))

    sentences = _collect(file, sentence_of, skip_bad)
    if all(each in FILLERS for sentence in sentences for each in sentence.tags):
        raise InputError(f"no word of {path} has a tag in {called(file, tag)}; choose another with --column")
    if (file.width, word, tag) != (2, 0, 1):
        sentences.notes.append(f"words from {called(file, word)}, tags from {called(file, tag)}")
    return sentences


def read_words(
    path: str | Path, *, word_column: str | int = AUTO, encoding: str = "utf-8", skip_bad: bool = False
) -> Examples[list[str]]:
    """Return the words of the sentences of a column file, with tags or without.

    The file and the column are as in `read_conll`; there may be one column alone. Raises InputError as that does.
    """
    file = _open(path, word_column, encoding, skip_bad)
    word = word_column_of(file, word_column)
    sentences = _collect(file, lambda where, rows: _filled(file, rows, word, "word"), skip_bad)
    if word > 0:
        sentences.notes.append(f"words from {called(file, word)}")
    return sentences


def _open(path: str | Path, word_column: str | int, encoding: str, skip_bad: bool) -> ColumnFile:
    """Return a file that has sentences; what is malformed in it is said before anybody asks for its columns."""
    file = ColumnFile(path, encoding, ids=str(word_column) != "1")
    _collect(file, lambda where, rows: rows, skip_bad)
    return file


def _collect(file: ColumnFile, parse: Callable[[str, list[Word]], Example], skip_bad: bool) -> Examples[Example]:
    def parse_words(where: str, rows: list[Word]) -> Example:
        if not rows:
            raise LeftOut("without a word")
        return parse(where, rows)

    sentences = collect(file.sentences, parse_words, unit="sentences", skip_bad=skip_bad)
    if not sentences:
        raise InputError(f"{file.path} holds no sentences ({sentences.report()})")
    if file.num_comments:
        sentences.notes.append(amount(file.num_comments, "comment lines"))
    return sentences


def _filled(file: ColumnFile, rows: Sequence[Word], column: int, name: str) -> list[str]:
    """Return a column of a sentence; raises InputError for a blank, without which the sentence means something else."""
    values = [fields[column] for _, fields in rows]
    if are_clean(values):
        return values
    values = []
    for number, fields in rows:  # to strip them, or to name the line that is wrong
        try:
            values.append(clean_text(fields[column], name, file.where(number)))
        except LeftOut:
            raise InputError(f"{file.where(number)}: the {name} is blank") from None
    return values
