"""Texts, or pairs of texts, with one answer each: how lists and tables of them are understood."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

from numformer._notices import say
from numformer.data.files.lines import suffix_of
from numformer.data.tables.columns import Texts
from numformer.data.tables.reader import TABLES, read_table
from numformer.errors import InputError
from numformer.tasks.shared.format import Format
from numformer.tasks.shared.text_pairs import NAMES, is_pair, is_text_or_pair

PAIRS_OF_COLUMNS = (  # what the columns of the first and the second text are called in the usual data sets
    NAMES,
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)


class TextsFormat(Format[tuple[Texts, Any], Any]):
    """Texts, or pairs of texts, with one answer each; a subclass says what an answer is."""

    together = "equal texts"

    @abstractmethod
    def is_answer(self, value: object) -> bool:
        """Tell whether a value is an answer."""

    @abstractmethod
    def describe_answers(self, examples: Sequence[tuple[Texts, Any]]) -> str:
        """Say in a few words what the answers are."""

    def accepts(self, example: object) -> bool:
        """Tell whether an example is a text, or a pair of texts, with its answer."""
        if not isinstance(example, (tuple, list)) or len(example) != 2:
            return False
        return is_text_or_pair(example[0]) and self.is_answer(example[1])

    def describe(self, examples: Sequence[tuple[Texts, Any]]) -> str:
        """Say whether the texts come in pairs, and what the answers are."""
        return ("pairs of texts; " if is_pair(examples[0][0]) else "") + self.describe_answers(examples)

    def settled(self, config: Any, data: Sequence[tuple[Texts, Any]] | None) -> Any:
        """Return a config that says whether texts come in pairs, as the list of examples has it, or the header of a file.

        The columns that are found so are said on stderr. Raises InputError for a list of both.
        """
        if data is None:
            return _of_header(config)
        kinds = {is_pair(texts) for texts, _ in data}
        if len(kinds) > 1:
            raise InputError("some of the examples are pairs of texts and some are single texts: give one of the two")
        return dataclasses.replace(config, pair=config.pair or NAMES[1]) if kinds == {True} else config

    def groups(self, examples: Sequence[tuple[Texts, Any]]) -> list[Hashable]:
        """Keep texts, or pairs, on one side that differ in case and spaces alone."""
        return [tuple(" ".join(text.casefold().split()) for text in _each(texts)) for texts, _ in examples]

    def texts(self, examples: Sequence[tuple[Texts, Any]]) -> Iterable[str]:
        """Return the texts, of a pair both."""
        return (text for texts, _ in examples for text in _each(texts))


def _each(texts: Texts) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _of_header(config: Any) -> Any:
    """Return a config with the columns of the first and the second text, where a table has such that are usual."""
    path = Path(config.data)
    if suffix_of(path) not in TABLES or not path.is_file():
        return config
    names = read_table(path, config.encoding).names
    for first, second in PAIRS_OF_COLUMNS:
        is_meant = not config.text and config.pair in (
            None,
            second,
        )  # a text that is named stands alone, or has its pair
        if is_meant and {first, second} <= set(names) and (first == "text" or "text" not in names):
            if config.pair is None:
                say(f"{path}: pairs of texts, in the columns {first} and {second}")
            return dataclasses.replace(config, text=(first,), pair=second)
    return config
