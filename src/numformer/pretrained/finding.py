"""Where a model lies that is named by a folder, a GGUF file, a known name, or hf:owner/name.

Only the last asks a network. A path that exists wins over a name.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from numformer.errors import InputError
from numformer.pretrained.hub import PREFIX, fetch_from_hub
from numformer.pretrained.names import KNOWN, find_known

GGUF = ".gguf"


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


def is_name(source: str | Path) -> bool:
    """Tell whether a model is named, as a known one or one of the hub, and not by a path that is there."""
    name = Path(source).as_posix()
    return (name in KNOWN or name.startswith(PREFIX)) and not Path(source).exists()


def place_of(source: str | Path) -> str:
    """Return what names the same model from any folder: the whole path of one that is there, any other name as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else str(source)


def is_gguf(path: str | Path) -> bool:
    """Tell whether a path is that of a GGUF file, by its name."""
    return Path(path).suffix.lower() == GGUF and not Path(path).is_dir()
