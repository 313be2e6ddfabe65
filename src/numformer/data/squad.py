"""Questions whose answer is a piece of a given text, in the JSON of SQuAD 1.1 and 2.0."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from numformer.data.examples import Examples, LeftOut, collect
from numformer.data.lines import read_lines
from numformer.data.rows import clean_text, json_field, json_kind, parse_json
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


Entry = tuple[dict[str, Any], str]  # what the file says of a question, and its context


def read_squad(path: str | Path, encoding: str = "utf-8", skip_bad: bool = False) -> Examples[Question]:
    """Return the questions of a file in the format of SQuAD (Rajpurkar et al. 2016, 2018), version 1.1 or 2.0.

    An answer that is blank or does not stand at its position is left out; so is a question that is blank, or that has
    no answer left though it is not marked impossible. All are counted. Raises InputError, naming the place, for a file that
    cannot be read, is not JSON or lacks a part of the format, for an id used twice, and when no question is left.
    """
    seen: set[str] = set()
    lost_answers = 0

    def parse(where: str, entry: Entry) -> Question:
        nonlocal lost_answers
        question = _question(*entry, where)
        if question.id in seen:
            raise InputError(f"{where}: the id {question.id!r} was used before")
        seen.add(question.id)
        if not question.question.strip():
            raise LeftOut("blank question")
        if not question.answers and not question.impossible:
            raise LeftOut("question whose answers do not stand where they should")
        lost_answers += 0 if question.impossible else len(entry[0]["answers"]) - len(question.answers)
        return question

    questions = collect(_entries(path, encoding), parse, unit="questions", skip_bad=skip_bad)
    if not questions:
        raise InputError(f"{path} holds no question with an answer in its context ({questions.report()})")
    if lost_answers:
        questions.notes.append(f"{lost_answers:,} single answers left out, which do not stand where they should")
    return questions


def _entries(path: str | Path, encoding: str) -> Iterator[tuple[str, Entry]]:
    """Yield where each question stands, its entry, and its context."""
    text = "\n".join(read_lines(path, encoding))
    articles = _field(parse_json(text, path), "data", list, str(path))
    for i, article in enumerate(articles):
        for paragraph, where in _items(article, "paragraphs", f"{path}, data[{i}]"):
            context = _field(paragraph, "context", str, where)
            for qa, qa_where in _items(paragraph, "qas", where):
                yield qa_where, (qa, context)


def _question(qa: dict[str, Any], context: str, where: str) -> Question:
    text = _field(qa, "question", str, where)
    clean_text(context, "context", where)  # the answers' positions hold for the text as it is, with its blanks
    if text.strip():
        clean_text(text, "question", where)
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
