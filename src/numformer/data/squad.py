"""Questions whose answer is a piece of a given text, in the JSON of SQuAD 1.1 and 2.0."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from numformer.data.lines import check_text, json_field, json_kind, parse_json, read_lines
from numformer.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A question about a context; an answer is its text and the position of its first character in the context."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    impossible: bool = False


class SquadFile(NamedTuple):
    """The usable questions of a file, and how many questions, and how many answers of the others, were left out."""

    questions: list[Question]
    skipped: int
    skipped_answers: int


def read_squad(path: str | Path, encoding: str = "utf-8") -> SquadFile:
    """Return the questions of a file in the format of SQuAD (Rajpurkar et al. 2016, 2018), version 1.1 or 2.0.

    An answer that is blank or does not stand at its position is left out; so is a question that is blank, or that has
    no answer left though it is not marked impossible. Raises InputError, naming the place, for a file that cannot be
    read, is not JSON or lacks a part of the format, for an id used twice, and when no question is left.
    """
    seen: set[str] = set()
    questions = []
    skipped_answers = 0
    for qa, context, where in _entries(path, encoding):
        question = _question(qa, context, where)
        if question.id in seen:
            raise InputError(f"{where}: the id {question.id!r} was used before")
        seen.add(question.id)
        if question.answers:
            skipped_answers += len(qa["answers"]) - len(question.answers)
        if question.question.strip() and (question.answers or question.impossible):
            questions.append(question)
    if not questions:
        raise InputError(f"{path} holds no question with an answer in its context")
    return SquadFile(questions, len(seen) - len(questions), skipped_answers)


def _entries(path: str | Path, encoding: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield the entry of each question, its context, and where it stands."""
    text = "\n".join(read_lines(path, encoding))
    articles = _field(parse_json(text, path), "data", list, str(path))
    for i, article in enumerate(articles):
        for paragraph, where in _items(article, "paragraphs", f"{path}, data[{i}]"):
            context = check_text(_field(paragraph, "context", str, where), "the context", where)
            for qa, qa_where in _items(paragraph, "qas", where):
                yield qa, context, qa_where


def _question(qa: dict[str, Any], context: str, where: str) -> Question:
    text = _field(qa, "question", str, where)
    if text.strip():
        check_text(text, "the question", where)
    impossible = _field({"is_impossible": False, **qa}, "is_impossible", bool, where)
    answers = () if impossible else _answers(qa, context, where)
    return Question(_field(qa, "id", str, where), text, context, answers, impossible)


def _answers(qa: dict[str, Any], context: str, where: str) -> tuple[tuple[str, int], ...]:
    answers = []
    for answer, answer_where in _items(qa, "answers", where):
        text, start = _field(answer, "text", str, answer_where), _field(answer, "answer_start", int, answer_where)
        if text.strip() and start >= 0 and context.startswith(text, start):
            answers.append((text, start))
    return tuple(answers)


def _items(row: object, key: str, where: str) -> Iterator[tuple[Any, str]]:
    """Yield the items of a list in a JSON object, each with where it stands."""
    for i, item in enumerate(_field(row, key, list, where)):
        yield item, f"{where}.{key}[{i}]"


def _field(row: object, key: str, kind: type[T], where: str) -> T:
    """Return a field of a JSON object; raises InputError when it is missing or of another type."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object, got {json_kind(row)}")
    value = json_field(row, key, where)
    if type(value) is not kind:
        raise InputError(f"{where}: {key!r} must be {json_kind(kind())}, got {json_kind(value)}")
    return value
