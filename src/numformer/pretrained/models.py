"""A model on disk in whatever form it has: a folder of weights, adapters with the model they belong to, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numformer.pretrained import adapter_files, folders
from numformer.pretrained.adapters import adapter_of
from numformer.pretrained.finding import is_gguf
from numformer.pretrained.gguf_read import read_gguf
from numformer.pretrained.weights import FILE


def load_model(path: str | Path, base: str | Path | None = None) -> Any:
    """Return the model of a folder or of a .gguf file, in evaluation mode.

    Adapters come with the model that they name, or that `base` names. Raises InputError when a file is missing or damaged,
    the architecture is unknown, or weights do not fit.
    """
    if is_adapter(path):
        return adapter_files.read_adapter(path, load_model, base)
    return read_gguf(path).model if is_gguf(path) else folders.load_model(path)


def load_folder_weights(model: Any, folder: str | Path) -> None:
    """Give a model the weights, or the adapters, in a folder; raises InputError when they are missing or another model's."""
    if adapter_of(model) is None:
        folders.load_folder_weights(model, folder)
    else:
        adapter_files.take_adapter(model, folder)


def save_model(model: Any, folder: str | Path, notes: dict[str, str] | None = None, dtype: str = "float32") -> None:
    """Write a model into a folder, of one with adapters these alone; raises InputError when that is impossible.

    `notes` are kept in the metadata of the weights, which are saved as `dtype`: float32, float16 or bfloat16. Adapters that
    were in the folder before a whole model go.
    """
    if adapter_of(model) is None:
        folders.save_model(model, folder, notes, dtype)
        for name in (adapter_files.CONFIG, adapter_files.WEIGHTS):
            (Path(folder) / name).unlink(missing_ok=True)
    else:
        adapter_files.save_adapter(model, folder, notes, dtype)


def save_config(model: Any, folder: str | Path) -> None:
    """Write the file that describes a model, or its adapters, in one step."""
    if adapter_of(model) is None:
        folders.save_config(model, folder)
    else:
        adapter_files.save_adapter_config(model, folder)


def config_file(model: Any) -> str:
    """Return the name of the file that `save_config` writes."""
    return "config.json" if adapter_of(model) is None else adapter_files.CONFIG


def weights_file(folder: str | Path) -> Path:
    """Return the file in a folder that holds its weights, or its adapters."""
    return Path(folder) / (adapter_files.WEIGHTS if is_adapter(folder) else FILE)


def is_adapter(path: str | Path) -> bool:
    """Tell whether a folder holds adapters of a model that lies elsewhere."""
    return (Path(path) / adapter_files.CONFIG).is_file()
