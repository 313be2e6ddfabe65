"""Opening a model by whatever names it: a folder, adapters in one, a GGUF file, a known name, or hf:owner/name.

Only the last asks a network. A path that exists wins over a name.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from numformer._memory import keep_freed_memory
from numformer.errors import InputError
from numformer.pretrained.gguf_read import read_gguf
from numformer.pretrained.hub import PREFIX, fetch_from_hub
from numformer.pretrained.models import GGUF, is_gguf, load_model
from numformer.pretrained.names import KNOWN, find_known
from numformer.tokenizers import TokenizerPair


class Opened(NamedTuple):
    """A model in evaluation mode, where it lies, and its tokenizer; None where a task reads that from the folder."""

    path: Path
    model: Any
    tokenizer: Any


def find_model(source: str | Path) -> Path:
    """Return the folder or the file of a model.

    Raises InputError when there is none, for a known name that has to be fetched first, and as `fetch_from_hub` does.
    """
    path, name = Path(source), Path(source).as_posix()
    try:
        if path.is_dir() or (path.is_file() and is_gguf(path)):
            return path
        is_file = path.exists()
    except OSError:  # a name that no file can have
        is_file = False
    if is_file:
        raise InputError(f"{path} is a file that is no model: expected a folder or a file ending in {GGUF}")
    if name.startswith(PREFIX):
        return fetch_from_hub(name)
    if name not in KNOWN:
        raise InputError(
            f"there is no folder {textwrap.shorten(name, 200)}, and no model of that name (known are {', '.join(KNOWN)}, and "
            f"{PREFIX}owner/name of the Hugging Face hub)"
        )
    if found := find_known(name):
        return found
    raise InputError(
        f"{name} is not on this machine yet: get it with `numformer models fetch {name}`, or set NUMFORMER_CACHE to the "
        "folder that has it"
    )


def place_of(source: str | Path) -> str:
    """Return what names the same model from any folder: the whole path of one that is there, any other name as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else str(source)


def open_model(path: Path, base: str | Path | None = None) -> Opened:
    """Return the model of a folder or a file; `base` is where that of adapters lies now.

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
