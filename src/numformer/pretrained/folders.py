"""Folders in the Hugging Face layout: config.json, model.safetensors and tokenizer.json, in and out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from numformer._files import replacing, write_atomically
from numformer.errors import InputError
from numformer.models.disk import from_disk, names_of, to_disk
from numformer.nn import Module
from numformer.pretrained.fitting import check_fit


def save_model(model: Any, folder: str | Path) -> None:
    """Write config.json and model.safetensors, each in one step; raises InputError when that is impossible."""
    folder = Path(folder)
    names = names_of(model)
    weights = {
        names.to_disk(name): p.data.T if names.is_transposed(name) else p.data for name, p in model.named_parameters()
    }
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt"})
    write_atomically(folder / "config.json", json.dumps(to_disk(model), indent=2) + "\n")


def load_model(folder: str | Path) -> Any:
    """Return the model saved in a folder, in evaluation mode.

    Raises InputError when a file is missing or damaged, the architecture is unknown or the weights do not fit it.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    weights, _ = read_safetensors(folder / "model.safetensors")
    try:
        model = from_disk(config, "config.json")
        _take_weights(model, weights)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    return model.eval()


def _take_weights(model: Module, weights: dict[str, np.ndarray]) -> None:
    """Make the arrays of a file a model's parameters, without a copy where they are float32 and lie as in memory.

    Raises InputError listing every missing, unexpected and misshapen name, as they are in the file.
    """
    names, own = names_of(model), dict(model.named_parameters())
    there = {name: names.to_disk(name) for name in own}
    shapes = {there[name]: p.shape[::-1] if names.is_transposed(name) else p.shape for name, p in own.items()}
    check_fit(model, shapes, {name: array.shape for name, array in weights.items()})
    for name, parameter in own.items():
        value = weights[there[name]].astype(np.float32, copy=False)
        parameter.data = np.ascontiguousarray(value.T) if names.is_transposed(name) else value


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays and one metadata entry in one step; equal content gives equal bytes."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    assert len(metadata) <= 1, "safetensors writes several entries in random order"
    with replacing(path) as temporary:
        try:
            save_file({name: np.asarray(value, order="C") for name, value in tensors.items()}, temporary, metadata)
        except SafetensorError as error:
            reason = re.sub(r".*I/O error: | \(os error \d+\)", "", str(error))
            raise InputError(f"could not write {path}: {reason}") from None
        temporary.chmod(_default_mode(path.parent))


def _default_mode(folder: Path) -> int:
    """Return the permissions of a file made in the ordinary way; safetensors gives them to the owner alone."""
    return folder.stat().st_mode & 0o666


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of a file; raises InputError when it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"there is no {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"{path} is damaged or not a safetensors file: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises InputError when it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}, expected a JSON object")
    return content
