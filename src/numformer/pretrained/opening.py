"""Opening a model with its tokenizer, wherever it was found: a folder, adapters in one, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from numformer._memory import keep_freed_memory
from numformer.errors import InputError
from numformer.pretrained.finding import is_gguf
from numformer.pretrained.gguf_read import read_gguf
from numformer.pretrained.models import load_model
from numformer.tokenizers import TokenizerPair


class Opened(NamedTuple):
    """A model in evaluation mode, where it lies, and its tokenizer; None where a task reads that from the folder."""

    path: Path
    model: Any
    tokenizer: Any


def open_model(path: Path, base: str | Path | None = None) -> Opened:
    """Return the model of a folder or a file; `base` is the model that adapters belong to, where they do not name it.

    Raises InputError when it is missing or damaged.
    """
    keep_freed_memory(1 << 25)
    if not is_gguf(path):
        return Opened(path, load_model(path, base), None)
    content = read_gguf(path)
    if content.chat_template is not None:
        content.tokenizer.config["chat_template"] = content.chat_template
    return Opened(path, content.model, content.tokenizer)


def check_rows(model: Any, tokenizer: Any, path: Path) -> None:
    """Raise InputError for a tokenizer with more tokens than a model has rows for."""
    parts = (tokenizer.source, tokenizer.target) if isinstance(tokenizer, TokenizerPair) else (tokenizer,)
    for name, part in zip(model.config.vocabularies, parts, strict=False):
        rows = getattr(model.config, name)
        if part.vocab_size > rows:
            raise InputError(
                f"{path}: the tokenizer has {part.vocab_size:,} tokens, and the model rows for {rows:,} alone: they do not "
                "belong together"
            )
