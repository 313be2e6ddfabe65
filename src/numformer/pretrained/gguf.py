"""GGUF files, in and out: the one place through which the rest of numformer reads and writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from numformer.errors import InputError


class GGUFContent(NamedTuple):
    """What a GGUF file holds."""

    model: Any
    tokenizer: Any
    chat_template: str | None
    metadata: dict[str, Any]


def read_gguf(path: Path) -> GGUFContent:
    """Return the model of a GGUF file, in evaluation mode, with its tokenizer; raises InputError when it cannot be read."""
    raise InputError(f"{path}: GGUF files are not read yet")


def write_gguf(model: Any, tokenizer: Any, path: Path, dtype: str, chat_template: str | None = None) -> None:
    """Write a model with its tokenizer as a GGUF file in one step; raises InputError when it cannot be written."""
    raise InputError(f"{path}: GGUF files are not written yet")
