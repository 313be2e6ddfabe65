"""Folders in the Hugging Face layout: config.json and the weights, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from numformer._files import read_json, write_atomically
from numformer.errors import InputError
from numformer.models.disk import SENTENCE_ENCODER, from_disk, names_of, to_disk
from numformer.models.sentence_encoder import SentenceEncoder
from numformer.nn import Module
from numformer.pretrained.array_files import write_safetensors
from numformer.pretrained.floats import check_float
from numformer.pretrained.sentence_folders import MODULES, read_sentence_settings, save_sentence_settings
from numformer.pretrained.weights import FILE, INDEX, Weights, take_weights


def save_model(model: Any, folder: str | Path, notes: dict[str, str] | None = None, dtype: str = "float32") -> None:
    """Write model.safetensors and then config.json, each in one step; raises InputError when that is impossible.

    `notes` are kept in the metadata of the weights, beside the format and the checksum. Weights are saved as `dtype`:
    float32, float16 or bfloat16; one that is too large for it is an InputError.
    """
    check_float(dtype)
    folder, names = Path(folder), names_of(model)
    weights = {
        names.to_disk(name): p.data.T if names.is_transposed(name) else p.data for name, p in model.named_state()
    }
    write_safetensors(folder / FILE, weights, {"format": "pt", **(notes or {})}, dtype)
    (folder / INDEX).unlink(missing_ok=True)  # of shards that were there before
    if not isinstance(model, SentenceEncoder):
        (folder / MODULES).unlink(missing_ok=True)  # of a sentence encoder, whose head this model would be taken for
    save_config(model, folder, dtype)


def save_config(model: Any, folder: str | Path, dtype: str = "float32") -> None:
    """Write config.json in one step; raises InputError when that is impossible."""
    if isinstance(model, SentenceEncoder):
        save_sentence_settings(model, Path(folder))
    keys = to_disk(model) | {"dtype": dtype}
    write_atomically(Path(folder) / "config.json", json.dumps(keys, indent=2) + "\n")


def load_model(folder: str | Path) -> Any:
    """Return the model saved in a folder, in evaluation mode, its weights as float32; a backbone where no head is there.

    The file is mapped and its tensors are copied one by one, so that memory holds the weights once. Raises InputError when a
    file is missing or damaged, the architecture is unknown, or the weights do not fit it or are no numbers.
    """
    folder = Path(folder)
    sentence_settings = read_sentence_settings(folder)
    config = read_json(folder / "config.json")
    if sentence_settings:
        config[SENTENCE_ENCODER] = sentence_settings
    try:
        weights = Weights(folder)
        model = from_disk(config, "config.json", weights.shapes)
        take_weights(model, weights)
    except InputError as error:
        raise _inside(folder, error) from None
    return model.eval()


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return those of the arrays whose names begin with a prefix, without it: the state of one part of a checkpoint."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def load_folder_weights(model: Module, folder: str | Path) -> None:
    """Give a model the weights saved in a folder; raises InputError when they are missing, damaged or another model's."""
    try:
        take_weights(model, Weights(Path(folder)))
    except InputError as error:
        raise _inside(Path(folder), error) from None


def _inside(folder: Path, error: InputError) -> InputError:
    """Return an error that names the folder."""
    return error if str(folder) in str(error) else InputError(f"{folder}: {error}")
