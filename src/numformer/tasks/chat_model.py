"""Opening what people chat with: a GGUF file, a run or a folder, with its tokenizer and its chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from numformer.errors import InputError
from numformer.generation.chat_template import ChatTemplate
from numformer.models.backbone import CausalModel
from numformer.pretrained import is_gguf, read_gguf
from numformer.pretrained.finding import find_model
from numformer.tasks.loading import load
from numformer.tokenizers import SubwordTokenizer


class ChatModel(NamedTuple):
    """A language model, its template, which has its tokenizer, and the tokens that end an answer."""

    model: CausalModel
    template: ChatTemplate
    stop_ids: frozenset[int]


def open_chat_model(source: str | Path, *, last: bool = False) -> ChatModel:
    """Return what a .gguf file, a run, a folder or a name means; of a run the best weights, or with `last` the last.

    Raises InputError when it cannot be read, is no language model, or has no chat template.
    """
    path = find_model(source)
    if is_gguf(path):
        return _of_file(path)
    task = load(path, last=last)
    if not isinstance(task.model, CausalModel):
        raise InputError(f"a chat needs a language model; the task of {path} is {task.name}")
    tokenizer = task.tokenizer
    if not isinstance(tokenizer, SubwordTokenizer) or tokenizer.chat_template is None:
        _refuse(path)
    return _chat_model(task.model, tokenizer, tokenizer.chat_template, set(task.end_ids))


def _of_file(path: Path) -> ChatModel:
    found = read_gguf(path)
    if not isinstance(found.model, CausalModel):
        raise InputError(f"a chat needs a language model; {path} holds a {type(found.model).__name__}")
    if found.chat_template is None:
        _refuse(path)
    ends = {found.metadata[key] for key in ("tokenizer.ggml.eot_token_id",) if key in found.metadata}
    return _chat_model(found.model, found.tokenizer, found.chat_template, ends)


def _chat_model(model: CausalModel, tokenizer: SubwordTokenizer, source: str, ends: set[Any]) -> ChatModel:
    template = ChatTemplate(source, tokenizer)
    ends |= {tokenizer.eos_id, template.end_of_turn()}
    return ChatModel(model, template, frozenset(end for end in ends if isinstance(end, int)))


def _refuse(path: Path) -> NoReturn:
    raise InputError(f"{path} has no chat template, so it was not made for chats: numformer generate continues texts")
