"""Examples for language models: JSON Lines with texts, prompts and their completions, or dialogues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from numformer._notices import amount
from numformer.data.files.examples import Examples, LeftOut, collect
from numformer.data.files.lines import suffix_of
from numformer.data.files.rows import clean_text, json_field, json_kind, json_rows
from numformer.errors import InputError
from numformer.generation.chat_template import ROLES, Message

ANSWERS = "assistant"  # the role whose turns are learned
FORMS = '{"text"}, {"prompt", "completion"} or {"messages"}'


class Piece(NamedTuple):
    """A piece of an example: its text, and whether it is to be learned."""

    text: str
    counts: bool


class Dialogue(NamedTuple):
    """The messages of a dialogue, up to the last answer."""

    messages: tuple[Message, ...]


Example: TypeAlias = tuple[Piece, ...] | Dialogue


def is_examples(data: str | Path) -> bool:
    """Tell whether a file holds examples, by its name."""
    return "\n" not in str(data) and suffix_of(data) in (".jsonl", ".json")


def read_examples(path: str | Path, encoding: str = "utf-8", *, skip_bad: bool = False) -> Examples[Example]:
    """Return the examples of a file; raises InputError with the line of what is wrong, which `skip_bad` leaves out."""
    found = collect(json_rows(path, encoding), _example, unit="examples", skip_bad=skip_bad)
    if kinds := Counter(_kind(example) for example in found):
        found.notes.append(", ".join(amount(count, kind) for kind, count in kinds.items()))
    return found


def texts(examples: Sequence[Example]) -> list[str]:
    """Return all text of examples, to train a tokenizer on."""
    return [
        text
        for example in examples
        for text in (
            [message["content"] for message in example.messages]
            if isinstance(example, Dialogue)
            else [piece.text for piece in example]
        )
    ]


def _kind(example: Example) -> str:
    if isinstance(example, Dialogue):
        return "dialogues"
    return "texts" if len(example) == 1 else "prompts"


def _example(where: str, row: dict[str, Any]) -> Example:
    if "messages" in row:
        return _dialogue(where, row["messages"])
    if "prompt" in row or "completion" in row:
        prompt = json_field(row, "prompt", where)
        if prompt != "":
            _check(prompt, "prompt", where)
        return Piece(prompt, False), Piece(_check(json_field(row, "completion", where), "completion", where), True)
    if "text" in row:
        return (Piece(_check(row["text"], "text", where), True),)
    raise InputError(f"{where}: expected {FORMS}, the keys are {', '.join(map(repr, row)) or 'none'}")


def _dialogue(where: str, messages: object) -> Dialogue:
    if not isinstance(messages, list):
        raise InputError(f"{where}: messages must be a list, got {json_kind(messages)}")
    turns = list[Message]()
    for message in messages:
        if not isinstance(message, dict):
            raise InputError(f"{where}: a message must be an object with role and content, got {json_kind(message)}")
        role, content = (json_field(message, name, where) for name in ("role", "content"))
        if role not in ROLES:
            raise InputError(f"{where}: the role of a message is one of {', '.join(ROLES)}, got {role!r:.40}")
        turns.append(Message(role=role, content="" if content == "" else _check(content, "content", where)))
    answers = [number for number, turn in enumerate(turns, 1) if turn["role"] == ANSWERS and turn["content"]]
    if not answers:
        raise LeftOut("without an answer of the assistant")
    return Dialogue(tuple(turns[: answers[-1]]))


def _check(value: object, name: str, where: str) -> str:
    """Return a text as it is, blanks around it too; raises as `clean_text` does."""
    clean_text(value, name, where)
    return str(value)
