"""Folders in the Hugging Face layout: config.json, model.safetensors and tokenizer.json, in and out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from numformer._files import replacing, write_atomically
from numformer._notices import say
from numformer.errors import InputError
from numformer.models.disk import SENTENCE_ENCODER, from_disk, names_of, to_disk
from numformer.models.sentence_encoder import SentenceEncoder
from numformer.nn import Module
from numformer.pretrained.fitting import check_fit
from numformer.pretrained.sentence_folders import read_sentence_settings, save_sentence_settings

DTYPES = {  # of arrays, as safetensors names them
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL"},
    **{f"{sign}int{bits}": f"{code}{bits}" for bits in (8, 16, 32, 64) for sign, code in (("", "I"), ("u", "U"))},
}


def save_model(model: Any, folder: str | Path, notes: dict[str, str] | None = None) -> None:
    """Write model.safetensors and then config.json, each in one step; raises InputError when that is impossible.

    `notes` are kept in the metadata of the weights, beside the format and the checksum.
    """
    folder = Path(folder)
    names = names_of(model)
    weights = {
        names.to_disk(name): p.data.T if names.is_transposed(name) else p.data for name, p in model.named_state()
    }
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt", **(notes or {})})
    save_config(model, folder)


def save_config(model: Any, folder: str | Path) -> None:
    """Write config.json in one step; raises InputError when that is impossible."""
    if isinstance(model, SentenceEncoder):
        save_sentence_settings(model, Path(folder))
    write_atomically(Path(folder) / "config.json", json.dumps(to_disk(model), indent=2) + "\n")


def load_model(folder: str | Path) -> Any:
    """Return the model saved in a folder, in evaluation mode.

    Raises InputError when a file is missing or damaged, the architecture is unknown or the weights do not fit it.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if sentence_settings := read_sentence_settings(folder):
        config[SENTENCE_ENCODER] = sentence_settings
    weights, _ = read_safetensors(folder / "model.safetensors")
    try:
        model = from_disk(config, "config.json", weights)
        _take_weights(model, weights)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    return model.eval()


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return those of the arrays whose names begin with a prefix, without it: the state of one part of a checkpoint."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def load_folder_weights(model: Module, folder: str | Path) -> None:
    """Give a model the weights saved in a folder; raises InputError when they are missing, damaged or another model's."""
    weights, _ = read_safetensors(Path(folder) / "model.safetensors")
    try:
        _take_weights(model, weights)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def _take_weights(model: Module, weights: dict[str, np.ndarray]) -> None:
    """Make the arrays of a file a model's parameters, without a copy where they are float32 and lie as in memory.

    Raises InputError listing every missing, unexpected and misshapen name, as they are in the file.
    """
    names, own = names_of(model), dict(model.named_state())
    found = {ours: there for there in weights if (ours := names.parameter_of(there, own)) is not None}
    others = [there for there in weights if there not in found.values() and not names.is_ignored(there)]
    left_out = [there for there in others if names.is_left_out(there)]
    there = {name: found.get(name, names.to_disk(name)) for name in own}
    shapes = {there[name]: p.shape[::-1] if names.is_transposed(name) else p.shape for name, p in own.items()}
    known = {*found.values(), *others} - set(left_out)
    check_fit(model, shapes, {name: array.shape for name, array in weights.items() if name in known})
    for name, parameter in own.items():
        value = weights[there[name]].astype(parameter.dtype, copy=False)
        parameter.data = np.ascontiguousarray(value.T) if names.is_transposed(name) else value
    if left_out:
        say(f"left out, for {type(model).__name__} has no place for them: {', '.join(left_out)}")


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays and metadata in one step, with a checksum of all of it; equal content gives equal bytes.

    The format is that of the safetensors library: eight bytes of length, a JSON header, the arrays. That library writes
    several entries of metadata in random order, so it only reads here. Raises InputError when the file cannot be written.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))  # so that every array is aligned
    places, at = dict[str, Any](), 0
    for name in order:
        array = tensors[name]
        places[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes

    def header(crc: int) -> bytes:
        text = json.dumps({"__metadata__": {"crc32": f"{crc:08x}", **metadata}, **places}).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    with replacing(path) as temporary, temporary.open("wb") as file:
        crc = zlib.crc32(header(0))
        file.write(header(0))
        for name in order:
            data = np.asarray(tensors[name], order="C").data
            crc = zlib.crc32(data, crc)
            file.write(data)
        file.seek(0)
        file.write(header(crc))


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of a file; raises InputError when it is missing or damaged.

    A file that says its checksum, as ours do, must have it.
    """
    with _opened(path) as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        if (crc := metadata.get("crc32")) and crc != _checksum(path, crc):
            raise InputError(f"{path} is damaged: its content does not have the checksum that was written with it")
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file without reading its arrays; raises InputError as read_safetensors does."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"there is no {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"{path} is damaged or not a safetensors file: {error}") from None


def _checksum(path: Path, written: str) -> str:
    """Return the checksum of a file, as it was before the checksum itself was put into the header."""
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little")).replace(written.encode(), b"00000000", 1)
        crc = zlib.crc32(length + header)
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return f"{crc:08x}"


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
