"""From the messages of a conversation to the tokens that a model was trained on, by the template that came with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from numformer.errors import InputError

if TYPE_CHECKING:
    from numformer.tokenizers import SubwordTokenizer

ROLES = ("system", "user", "assistant")
_MARKS = range(0xE000, 0x110000)  # the first 6,400 are characters without a meaning of their own


class Message(TypedDict):
    """What one side of a conversation said; the role is system, user or assistant."""

    role: str
    content: str


class ChatTemplate:
    """A Jinja template that writes messages as one text, as Hugging Face's `apply_chat_template` runs it.

    It runs in a sandbox, within a time and a memory. Raises InputError for what is no template, and when the package jinja2
    is missing.
    """

    def __init__(self, source: str, tokenizer: SubwordTokenizer) -> None:
        self.source, self.tokenizer = source, tokenizer
        names = {number: name for name, number in tokenizer.special_names.items()}
        ids = {f"{kind}_token": getattr(tokenizer, f"{kind}_id") for kind in ("bos", "eos", "unk", "pad")}
        self._names = {kind: names[number] for kind, number in ids.items() if number in names}
        self._sandbox = _sandbox()
        self._template = self._sandbox.compile_template(source)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Return the text; with `add_generation_prompt` it ends where the model's answer begins.

        Raises InputError for messages that are none, and when the template fails, refuses them, or is refused itself.
        """
        _check(messages)
        names = {"messages": [dict(each) for each in messages], "add_generation_prompt": add_generation_prompt}
        text: str = self._sandbox.render(self._template, names | self._names)
        return text

    def encode(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> list[int]:
        """Return the token ids of the text, in which the template's names of special tokens stand for these tokens.

        Those in a message stay text: nobody can end a turn by writing so. Raises InputError as `render` does.
        """
        _check(messages)
        mark = _unused_character(self.source, messages)
        marked = [Message(role=each["role"], content=self._cut(each["content"], mark)) for each in messages]
        text = self.render(marked, add_generation_prompt=add_generation_prompt)
        # A mark stands inside every name of a message, so no piece between marks holds such a name.
        pieces = [self.tokenizer.encode_control(piece) for piece in text.split(mark)]
        return [int(token) for token in np.concatenate(pieces)]

    def _cut(self, text: str, mark: str) -> str:
        """Put the mark into every name of a special token that a message holds."""
        cut = _cut_names(text, list(self.tokenizer.special_names), mark)
        control = set(self.tokenizer.special_names.values()) - {self.tokenizer.unk_id}
        if any(control.intersection(self.tokenizer.encode_control(piece).tolist()) for piece in cut.split(mark)):
            return mark.join(
                text
            )  # written in other characters, such as ＜eos＞, which the tokenizer takes for the name's
        return cut

    def end_of_turn(self) -> int | None:
        """Return the special token that the template puts after an answer, or None where it puts none."""
        answer = "The answer."
        messages = [Message(role="user", content="A question?"), Message(role="assistant", content=answer)]
        after = self.render(messages).rpartition(answer)[2]
        found = {name: at for name in self.tokenizer.special_names if (at := after.find(name)) >= 0}
        return self.tokenizer.special_names[min(found, key=lambda name: (found[name], -len(name)))] if found else None


def _sandbox() -> Any:
    try:
        import jinja2  # noqa: F401

        from numformer.generation import _sandbox
    except ImportError:
        raise InputError("chat templates need the package jinja2: pip install 'numformer[chat]'") from None
    return _sandbox


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    for message in messages:
        _check_message(message)


def _check_message(message: Mapping[str, Any]) -> None:
    if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
        raise InputError(f"a message has a role and a content, got {message!r:.80}")
    if message["role"] not in ROLES:
        raise InputError(f"the role of a message is one of {', '.join(ROLES)}, got {message['role']!r:.40}")
    if not isinstance(message["content"], str):
        raise InputError(f"the content of a message is a text, got {message['content']!r:.60}")


def _unused_character(source: str, messages: Sequence[Message]) -> str:
    """Return a character that neither the template nor a message has."""
    used = set(source).union(*(each["content"] for each in messages))
    return next(character for character in map(chr, _MARKS) if character not in used)


def _cut_names(text: str, names: Sequence[str], mark: str) -> str:
    """Put the mark after the first character of every name, and of what a text beside this one could make a name of."""
    if not any(name[0] in text for name in names):
        return text
    end, pieces, done = text.rstrip(), list[str](), 0
    firsts = {name[0] for name in names}
    for at, character in enumerate(end):
        if character in firsts and any(text.startswith(name, at) or name.startswith(end[at:]) for name in names):
            pieces.append(text[done : at + 1])
            done = at + 1
    return mark.join([*pieces, text[done:]])
