"""Sentences with a tag for every word, as in part-of-speech tagging and named-entity recognition."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from numformer.data.examples import Examples, LeftOut, collect
from numformer.data.lines import read_lines
from numformer.data.rows import clean_text, wrong_columns
from numformer.errors import InputError

CONLLU_COLUMNS = {"upos": 3, "xpos": 4, "ner": 9}

Token = tuple[str, str]  # word, tag ("" where a CoNLL-U file gives none)


@dataclass(frozen=True)
class TaggedSentence:
    """The words of a sentence and their tags, lists of one length."""

    words: list[str]
    tags: list[str]


def read_conll(
    path: str | Path, *, column: str = "auto", encoding: str = "utf-8", skip_bad: bool = False
) -> Examples[TaggedSentence]:
    """Return the sentences of a file with one word on a line and blank lines between sentences.

    A file whose first row has 10 TAB columns is CoNLL-U. Its tags are the column "upos" (which "auto" stands for) or
    "xpos", or "ner": what NER= says in the last column, O where it is absent. Comments, multi-word tokens and empty
    nodes are left out. In any other file the word is the first column and the tag the last, between TABs or single
    spaces, and lines that begin with -DOCSTART- are left out. Raises InputError, naming the line, for rows of
    different lengths and for blank words and tags; also for a file without a sentence or without tags in the column.
    """
    if column not in ("auto", *CONLLU_COLUMNS):
        raise InputError(f"column must be auto, {', '.join(CONLLU_COLUMNS)}, got {column!r}")
    lines = list(read_lines(path, encoding))
    is_conllu = _first(lines, but="#").count("\t") == 9
    if column != "auto" and not is_conllu:
        raise InputError(f"{path} has no column {column!r}: it is not CoNLL-U, which has 10 TAB columns")
    column = "upos" if column == "auto" else column
    parse = (
        partial(_conllu_token, column=column)
        if is_conllu
        else partial(_last_column_token, width=len(_columns(_first(lines, but="-DOCSTART-"))))
    )
    untagged = "O" if column == "ner" else "_"

    def sentence_of(where: str, rows: list[tuple[int, str]]) -> TaggedSentence:
        tokens = [token for number, line in rows if (token := parse(line, f"{path}, line {number}"))]
        if not tokens:
            raise LeftOut("without a word")
        return TaggedSentence([word for word, _ in tokens], [tag or untagged for _, tag in tokens])

    sentences = collect(_sentences(lines, path), sentence_of, unit="sentences", skip_bad=skip_bad)
    if not sentences:
        raise InputError(f"{path} holds no sentences ({sentences.report()})")
    if all(tag == untagged for sentence in sentences for tag in sentence.tags):
        place = "NER= in its last column" if column == "ner" else f"a tag in its column {column.upper()}"
        raise InputError(f"no word of {path} has {place}")
    return sentences


def _first(lines: list[str], but: str) -> str:
    """Return the first line that is not blank and does not begin with `but`."""
    return next((line for line in lines if line.strip() and not line.startswith(but)), "")


def _sentences(lines: Iterable[str], path: str | Path) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Yield where each sentence begins, and its lines with their numbers."""
    sentence: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            sentence.append((number, line))
        elif sentence:
            yield f"{path}, line {sentence[0][0]}", sentence
            sentence = []
    if sentence:
        yield f"{path}, line {sentence[0][0]}", sentence


def _conllu_token(line: str, where: str, column: str) -> Token | None:
    if line.startswith("#"):
        return None
    columns = line.split("\t")
    if len(columns) != 10:
        raise wrong_columns(len(columns), "the 10 of CoNLL-U", where)
    if "-" in columns[0] or "." in columns[0]:  # a multi-word token such as 1-2, an empty node such as 1.1
        return None
    tag = columns[CONLLU_COLUMNS[column]]
    if column == "ner":
        tag = next((pair.removeprefix("NER=") for pair in tag.split("|") if pair.startswith("NER=")), "_")
    _filled(tag, "tag", where)
    return _filled(columns[1], "word", where), tag if tag != "_" else ""


def _last_column_token(line: str, where: str, width: int) -> Token | None:
    if line.startswith("-DOCSTART-"):
        return None
    columns = _columns(line)
    if len(columns) < 2:
        raise wrong_columns(1, "a word and its tag with a TAB or a space between", where)
    if len(columns) != width:
        raise wrong_columns(len(columns), f"{width} as in the first row", where)
    return _filled(columns[0], "word", where), _filled(columns[-1], "tag", where)


def _columns(line: str) -> list[str]:
    return line.split("\t" if "\t" in line else " ")


def _filled(value: str, name: str, where: str) -> str:
    """Return a field of a word; raises InputError for a blank one, without which its sentence means something else."""
    try:
        return clean_text(value, name, where)
    except LeftOut:
        raise InputError(f"{where}: the {name} is blank") from None
