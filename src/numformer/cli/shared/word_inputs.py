"""Inputs of a tagger that are words already: with blanks between, in JSON lists, or in a column file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from numformer._notices import say
from numformer.cli.shared.rows import InputRow, Inputs, make_rows
from numformer.data.files.examples import LeftOut
from numformer.data.files.lines import read_lines, suffix_of
from numformer.data.files.rows import json_kind, parse_json
from numformer.data.tables.reader import TABLES, Fields
from numformer.data.tagged.conll import read_words
from numformer.errors import InputError
from numformer.tasks.shared.task import Task

COLUMN_FILES = (".conll", ".conllu", ".conllup", ".iob", ".iob2", ".bio")


def inputs_of_words(options: Any, task: Task) -> Inputs | None:
    """Return the sentences of a file that holds words; None where it does not.

    It does by its name (see COLUMN_FILES), with --word-column, and where the first line of .jsonl is a list.
    """
    column = options.word_column
    if options.input is None:
        return None
    if column is not None or suffix_of(options.input) in COLUMN_FILES:
        column = getattr(task.config, "word_column", "auto") if column is None else column
        sentences = read_words(options.input, word_column=column, encoding=options.encoding, skip_bad=options.skip_bad)
        say(f"{options.input}: {sentences.report()}")
        return Inputs(["words"], ("words",), (InputRow({"words": words}, words) for words in sentences))
    if suffix_of(options.input) == ".jsonl" and _holds_lists(options.input, options.encoding):
        lists = _lists(options.input, options.encoding)
        rows = make_rows(lists, lambda cells, where: words_in(cells["words"], where), options)
        return Inputs(["words"], ("words",), rows)
    if suffix_of(options.input) not in TABLES and "\t" in next(read_lines(options.input, options.encoding)):
        say(
            f"{options.input}: every line is read as a sentence; --word-column says which column of its TABs has the words"
        )
    return None


def words_of(text: str) -> list[str]:
    """Return the words of a text that has blanks between them, or is a JSON list of them."""
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        words = None
    return words if _are_words(words) else text.split()


def words_in(value: object, where: str) -> list[str]:
    """Return a list of words, which may stand in a text; raises LeftOut for none, and InputError for anything else."""
    words = words_of(value) if isinstance(value, str) else value
    if words is None or words == []:
        raise LeftOut("without a word")
    if not _are_words(words):
        raise InputError(f"{where}: expected a list of words, got {json_kind(value)}")
    return words


def _are_words(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _holds_lists(path: Path, encoding: str) -> bool:
    """Tell whether the first line of a file is a list of words in JSON."""
    try:
        return _are_words(json.loads(next((line for line in read_lines(path, encoding) if line.strip()), "")))
    except (ValueError, RecursionError):
        return False


def _lists(path: Path, encoding: str) -> Iterator[tuple[str, Fields | InputError]]:
    for number, line in enumerate(read_lines(path, encoding), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                yield where, {"words": parse_json(line, path, number)}
            except InputError as error:
                yield where, error
