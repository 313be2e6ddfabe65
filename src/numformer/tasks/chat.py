"""A conversation with a language model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from numformer import random
from numformer._notices import amount, say
from numformer.errors import InputError
from numformer.generation import SamplingConfig, Session, TextStream
from numformer.generation.chat_template import Message
from numformer.generation.rows import Ended
from numformer.tasks.chat_model import ChatModel, open_chat_model

OnText = Callable[[str], Any]


class Answer(NamedTuple):
    """How an answer was made: the tokens read before it and written, the seconds of both, and why it ended."""

    num_read: int
    read_seconds: float
    num_written: int
    write_seconds: float
    ended: Ended


class Chat:
    """A conversation: `Chat.load("model.gguf").say("Hello!")` returns the answer.

    `messages` are what was said, the system message first where there is one, and `last` says how the last answer was made.
    What the model has read stays in its cache. When the context is full, the oldest half of the conversation is no longer
    shown to the model, which is said on stderr; `messages` keep it. `sampling` says how a token is chosen, by default with
    temperature=0.2 and top_p=0.9, and one seed gives one conversation. An answer ends after `max_new_tokens`. `backend` is as
    in Session.
    Raises InputError for a system message that the model's template does not take, and as Session does for the backend.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        system: str | None = None,
        sampling: SamplingConfig | None = None,
        max_new_tokens: int = 1000,
        seed: int = 0,
        backend: str = "numpy",
    ) -> None:
        if not isinstance(max_new_tokens, (int, np.integer)) or max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be a whole number of at least 1, got {max_new_tokens!r}")
        self.model, self.max_new_tokens, self.backend = model, max_new_tokens, backend
        self.sampling = sampling or SamplingConfig(temperature=0.2, top_p=0.9)
        self.messages: list[Message] = []
        self.last: Answer | None = None
        self._generator = random.generator(seed)
        self._num_unseen = 0  # messages after the system message that no longer fit the context
        self._start_session()
        if system is not None:
            self.set_system(system)

    @classmethod
    def load(cls, source: str | Path, *, last: bool = False, **settings: Any) -> Self:
        """Open a GGUF file, a run or a folder, and begin a conversation with these settings.

        Raises InputError when it cannot be read, is no language model, or has no chat template.
        """
        return cls(open_chat_model(source, last=last), **settings)

    def say(self, text: str, on_text: OnText | None = None) -> str:
        """Return the model's answer; `on_text` gets its pieces as they come.

        What was written before KeyboardInterrupt, or another exception, stays as the answer. Raises InputError, and changes
        nothing, for a question that is empty or does not fit the context, and for what the template refuses.
        """
        if not text.strip():
            raise InputError("the question is empty")
        return self._answer([*self.messages, Message(role="user", content=text)], on_text)

    def say_again(self, on_text: OnText | None = None) -> str:
        """Return another answer in place of the last one; raises InputError when there is none."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            raise InputError("there is no answer to give again")
        return self._answer(self.messages[:-1], on_text)

    def reset(self) -> None:
        """Forget the conversation, but not the system message."""
        self.messages = self.messages[: _num_system(self.messages)]
        self._num_unseen, self.last = 0, None

    def set_system(self, text: str) -> None:
        """Make this the system message; an empty one is none. Raises InputError, and changes nothing, when it is refused."""
        new = [Message(role="system", content=text)] if text else []
        self.model.template.render([*new, Message(role="user", content="Hello")], add_generation_prompt=True)
        self.messages = new + self.messages[_num_system(self.messages) :]

    def _start_session(self) -> None:
        vocab_size = self.model.template.tokenizer.vocab_size
        self._session = Session(self.model.model, 1, vocab_size=vocab_size, backend=self.backend)
        self._slot: int | None = None  # of the last prompt, whose beginning the next one shares

    def _answer(self, messages: list[Message], on_text: OnText | None) -> str:
        """Answer the last of the messages, and make them the conversation, with the answer."""
        prompt, stream = self._prompt(messages), TextStream(self.model.template.tokenizer)
        try:
            self.last = self._write(prompt, stream, on_text)
        except BaseException:
            self._start_session()  # what the interrupted pass has left in the cache is not to be trusted
            if stream.text:
                self.messages = [*messages, Message(role="assistant", content=stream.text)]
            raise
        self.messages = [*messages, Message(role="assistant", content=stream.text)]
        return stream.text

    def _write(self, prompt: list[int], stream: TextStream, on_text: OnText | None) -> Answer:
        """Read what is new in the prompt, and write an answer token by token."""
        start, session = time.perf_counter(), self._session
        self._slot = session.admit(
            prompt,
            self.sampling,
            max_new_tokens=self.max_new_tokens,
            stop_ids=self.model.stop_ids,
            seed=self._generator,
            keep=True,
            reuse=self._slot,
        )
        num_read = session.num_unread(self._slot)
        session.logits()
        begun, number, ended = time.perf_counter(), 0, None
        while ended is None:
            step, number = session.step()[0], number + 1
            ended = step.ended
            piece = "" if ended == "stop" else stream.push(step.id)
            piece += stream.flush() if ended else ""
            if piece and on_text:
                on_text(piece)
        return Answer(num_read, begun - start, number, time.perf_counter() - begun, ended)

    def _prompt(self, messages: list[Message]) -> list[int]:
        """Return the ids up to where the answer begins, without the oldest turns where they are too long."""
        longest, system = self.model.model.config.max_seq_len, messages[: _num_system(messages)]
        unseen, talk = self._num_unseen, messages[len(system) :]
        ids = self._ids(system + talk[unseen:])
        if len(ids) + min(self.max_new_tokens, longest // 4) > longest:
            while len(ids) > longest // 2 and (length := _oldest_turn(talk[unseen:])):
                unseen += length
                ids = self._ids(system + talk[unseen:])
        if len(ids) >= longest:
            raise InputError(f"the question makes a prompt of {len(ids):,} tokens, but the model reads {longest:,}")
        if left_out := unseen - self._num_unseen:
            say(f"the context of {longest:,} tokens is full: the model no longer sees {amount(left_out, 'messages')}")
        self._num_unseen = unseen
        return ids

    def _ids(self, messages: list[Message]) -> list[int]:
        return self.model.template.encode(messages, add_generation_prompt=True)


def _num_system(messages: list[Message]) -> int:
    return int(bool(messages) and messages[0]["role"] == "system")


def _oldest_turn(messages: list[Message]) -> int:
    """Return how many messages the first turn has; 0 when it is the last one."""
    return next((at for at, message in enumerate(messages) if at and message["role"] == "user"), 0)
