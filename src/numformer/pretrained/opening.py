"""Opening a model by whatever names it: a folder, adapters in one, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from numformer.errors import InputError
from numformer.pretrained.gguf_read import read_gguf
from numformer.pretrained.models import is_gguf, load_model


class Opened(NamedTuple):
    """A model in evaluation mode, where it lies, and its tokenizer; None where a task reads that from the folder."""

    path: Path
    model: Any
    tokenizer: Any


def find_model(source: str | Path) -> Path:
    """Return the folder or the file of a model; raises InputError when there is none."""
    path = Path(source)
    if not path.is_dir() and not is_gguf(path):
        raise InputError(f"there is no folder {path}")
    return path


def open_model(path: Path, base: str | Path | None = None) -> Opened:
    """Return the model of a folder or a file; `base` is where that of adapters lies now.

    Raises InputError when it is missing or damaged.
    """
    if not is_gguf(path):
        return Opened(path, load_model(path, base), None)
    content = read_gguf(path)
    return Opened(path, content.model, content.tokenizer)
