"""Questions whose answer is a piece of a given text, in the JSON of SQuAD 1.1 and 2.0, or as the rows of Hugging Face."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from numformer._notices import amount, listed
from numformer.data.files.examples import Examples, LeftOut, collect
from numformer.data.files.lines import read_lines, suffix_of
from numformer.data.files.rows import clean_text, json_field, json_kind, json_rows, parse_json
from numformer.errors import InputError

T = TypeVar("T")
LEVELS = (
    "data",
    "paragraphs",
)  # lists in the JSON of SQuAD, from the outside in; in a paragraph the questions are "qas"


@dataclass(frozen=True)
class Question:
    """A question about a context; an answer is its text and the position of its first character in the context."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    impossible: bool = False


QuestionRow = tuple[Any, dict[str, Any]]  # what the file says of a question, and the object that holds its context


def read_squad(path: str | Path, encoding: str = "utf-8", skip_bad: bool = False) -> Examples[Question]:
    """Return the questions of a file in the JSON of SQuAD (Rajpurkar et al. 2016, 2018), version 1.1 or 2.0, or of rows.

    A row is an object with question, context and answers, in JSON Lines, an array, or the list "data"; its answers may be an
    object of two lists, text and answer_start, and mean that there is none when these are empty. A question without an id
    has its place in the file for one. An answer that is blank or does not stand at its position is left out; so is a
    question that is blank or about a blank context, or that has no answer left though it is not marked impossible. All are
    counted. Raises InputError, naming the place, for a file that cannot be read or lacks a part of the format, for an id used
    twice, and when no question is left; with `skip_bad` what is malformed is left out and counted too, an article or a
    paragraph whose questions cannot be told apart as one.
    """
    seen: set[str] = set()
    lost_answers = 0

    def parse(where: str, row: QuestionRow) -> Question:
        nonlocal lost_answers
        question, lost = _question(*row, where)
        if question.id in seen:
            raise InputError(f"{where}: the id {question.id!r} was used before")
        seen.add(question.id)
        if not question.answers and not question.impossible:
            raise LeftOut("misplaced answer" if lost else "no answer")
        lost_answers += lost
        return question

    questions = collect(_rows(path, encoding), parse, unit="questions", skip_bad=skip_bad)
    if not questions:
        raise InputError(f"{path} holds no question with an answer in its context ({questions.report()})")
    if lost_answers:
        questions.notes.append(f"{amount(lost_answers, 'single answers')} left out, not at the position that is given")
    return questions


def _rows(path: str | Path, encoding: str) -> Iterator[tuple[str, QuestionRow | InputError]]:
    """Yield where each question stands, and its row."""
    if _is_of_rows(path, encoding):
        for where, row in json_rows(path, encoding):
            yield from [(where, row)] if isinstance(row, InputError) else _questions_of(row, where)
    else:
        document = parse_json("\n".join(read_lines(path, encoding)), path)
        if not isinstance(document, dict) or "data" not in document:
            raise InputError(f"{path}: expected the object of SQuAD, with the list 'data', or rows of questions")
        yield from _questions_of(document, str(path), ", ")


def _is_of_rows(path: str | Path, encoding: str) -> bool:
    """Tell whether a file is JSON Lines or an array, whatever its name says."""
    first = next((line for line in read_lines(path, encoding) if line.strip()), "").lstrip()
    with suppress(ValueError, RecursionError):
        whole = json.loads(first)
        return not isinstance(whole, dict) or "data" not in whole
    return first.startswith("[") or suffix_of(path) == ".jsonl"


def _questions_of(item: Any, where: str, separator: str = ".") -> Iterator[tuple[str, QuestionRow | InputError]]:
    """Yield the questions of an object of any level, or the error of one that is malformed."""
    keys = item if isinstance(item, dict) else ()
    level = next((key for key in LEVELS if key in keys), None)
    try:
        if level is not None:
            for number, part in enumerate(_field(item, level, list, where)):
                yield from _questions_of(part, f"{where}{separator}{level}[{number}]")
        elif "qas" in keys:
            for number, question in enumerate(_field(item, "qas", list, where)):
                yield f"{where}{separator}qas[{number}]", (question, item)
        elif "question" in keys or not isinstance(item, dict):
            yield where, (item, item)
        else:
            raise InputError(f"{where}: there are no 'paragraphs', 'qas' or 'question' (the keys are {listed(keys)})")
    except InputError as error:
        yield where, error


def _question(row: Any, holder: dict[str, Any], where: str) -> tuple[Question, int]:
    """Return a question, and how many of its answers do not stand where they should."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object, got {json_kind(row)}")
    context = json_field(holder, "context", where)
    clean_text(context, "context", where)  # the answers' positions hold for the text as it is, with its blanks
    text = clean_text(json_field(row, "question", where), "question", where)
    impossible = _field({"is_impossible": False, **row}, "is_impossible", bool, where)
    given = [] if impossible else _answers(row, where)
    if "is_impossible" not in row and not given and isinstance(row["answers"], dict):
        impossible = True  # the only sign of it in rows
    answers = [(piece, at) for piece, at in given if piece.strip() and at >= 0 and context.startswith(piece, at)]
    return Question(_id(row, where), text, context, tuple(answers), impossible), len(given) - len(answers)


def _answers(row: dict[str, Any], where: str) -> list[tuple[str, int]]:
    """Return the answers as the file gives them: a list of objects, or an object of one answer or of lists."""
    answers, where = json_field(row, "answers", where), f"{where}.answers"
    if isinstance(answers, dict):
        columns = [json_field(answers, key, where) for key in ("text", "answer_start")]
        texts, starts = (column if isinstance(column, list) else [column] for column in columns)
        if len(texts) != len(starts):
            raise InputError(f"{where}: got {amount(len(texts), 'texts')} for {amount(len(starts), 'positions')}")
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(answers, list):
        raise InputError(f"{where}: expected a list or an object, got {json_kind(answers)}")
    places = [f"{where}[{number}]" for number in range(len(answers))]
    return [
        (_field(answer, "text", str, place), _field(answer, "answer_start", int, place))
        for answer, place in zip(answers, places, strict=True)
    ]


def _id(row: dict[str, Any], where: str) -> str:
    value = row.get("id", where.rpartition(", ")[2])
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f"{where}: 'id' must be text or an integer, got {json_kind(value)}")
    return str(value)


def _field(row: object, key: str, kind: type[T], where: str) -> T:
    """Return a field of a JSON object; raises InputError when it is missing or of another type."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object, got {json_kind(row)}")
    value = json_field(row, key, where)
    if type(value) is not kind:
        raise InputError(f"{where}: {key!r} must be {json_kind(kind())}, got {json_kind(value)}")
    return value
