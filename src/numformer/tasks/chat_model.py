"""Opening what people chat with: a GGUF file, a run or a folder, with its tokenizer and its chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from numformer._files import read_json
from numformer.errors import InputError
from numformer.generation.chat_template import ChatTemplate
from numformer.models.backbone import CausalModel
from numformer.pretrained import is_gguf, read_gguf
from numformer.pretrained.opening import find_model
from numformer.tasks.loading import load
from numformer.tokenizers import SubwordTokenizer
from numformer.training.answering import answering_folder


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
    folder = answering_folder(path, last)
    template = _template_of(folder)
    if template is None or not isinstance(task.tokenizer, SubwordTokenizer):
        _refuse(path)
    return _chat_model(task.model, task.tokenizer, template, _ends_of(folder, task.tokenizer))


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


def _template_of(folder: Path) -> str | None:
    """Return the template of a folder in the Hugging Face layout: of several the one called "default"."""
    file = folder / "chat_template.jinja"
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    found = _settings(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _ends_of(folder: Path, tokenizer: SubwordTokenizer) -> set[Any]:
    """Return the ids that end a text, by generation_config.json and tokenizer_config.json."""
    ids = _settings(folder / "generation_config.json").get("eos_token_id")
    token = _settings(folder / "tokenizer_config.json").get("eos_token")
    name = token.get("content") if isinstance(token, dict) else token
    named = tokenizer.special_names.get(name) if isinstance(name, str) else None
    return {*(ids if isinstance(ids, list) else [ids]), named}


def _settings(file: Path) -> dict[str, Any]:
    return read_json(file) if file.exists() else {}
