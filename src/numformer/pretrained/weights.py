"""The weights of a folder: one safetensors file, or several with an index that says which has which tensor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer._files import read_json
from numformer._notices import say
from numformer.errors import InputError
from numformer.models.disk import names_of
from numformer.nn import Module
from numformer.pretrained.array_files import ArrayFile
from numformer.pretrained.fitting import check_fit, few_names

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors")  # in this folder: no path
_OTHERS = {  # of formats that are not read, and why not
    **dict.fromkeys(("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt"), "pickles, which can run any program"),
    **dict.fromkeys(("*.h5", "*.msgpack", "*.onnx"), "files of other libraries"),
}


class Weights:
    """The tensors of a folder, which are read one by one; `shapes` are those of all, by name.

    Raises InputError when a file is missing or damaged, and for an index that does not agree with its files.
    """

    def __init__(self, folder: Path) -> None:
        if (folder / FILE).exists() or not (folder / INDEX).exists():
            _check_readable(folder)
            file = ArrayFile(folder / FILE)
            self._files = dict.fromkeys(file.places, file)
        else:
            self._files = _shards(folder)
        for file in dict.fromkeys(self._files.values()):
            file.check()
        self.shapes = {name: file.places[name].shape for name, file in self._files.items()}

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor; raises InputError when its numbers are not all finite."""
        file = self._files[name]
        array = file.read(name)
        with np.errstate(all="ignore"):  # a sum may be too large where no number is
            is_finite = array.dtype.kind != "f" or np.isfinite(array.sum()) or np.isfinite(array).all()
        if not is_finite:
            raise InputError(f"{name} in {file.path.name} holds values that are no finite numbers")
        return array

    def forget(self, name: str) -> None:
        """Give the memory of a tensor back that has been copied."""
        self._files[name].forget(name)


def take_weights(model: Module, weights: Weights) -> None:
    """Copy the tensors of a folder into a model's parameters, one by one, so that memory holds them once.

    Tensors that hold no weights of an architecture are passed over; those of another head are too, which is said on stderr.
    Raises InputError naming every missing, unexpected and misshapen tensor, as it is called in the file.
    """
    names, own = names_of(model), dict(model.named_state())
    found, others = dict[str, str](), list[str]()
    for there in weights.shapes:
        ours = names.parameter_of(there, own)
        if ours is not None and ours not in found:
            found[ours] = there
        elif ours is not None or not names.is_ignored(there):
            others.append(there)
    left_out = [name for name in others if names.is_left_out(name)]
    expected = {
        found.get(name) or names.to_disk(name): p.shape[::-1] if names.is_transposed(name) else p.shape
        for name, p in own.items()
    }
    check_fit(
        model, expected, {name: weights.shapes[name] for name in [*found.values(), *others] if name not in left_out}
    )
    for name, parameter in own.items():
        value = weights.read(found[name])
        parameter.data[...] = value.T if names.is_transposed(name) else value
        weights.forget(found[name])
    if left_out:
        say(f"left out, for {type(model).__name__} has no place for them: {few_names(left_out)}")


def _shards(folder: Path) -> dict[str, ArrayFile]:
    """Return the file of each tensor, as an index says."""
    index = folder / INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise InputError(f"{index} has no weight_map that names a file for every tensor")
    for name in sorted(set(places.values())):
        if not _SHARD.fullmatch(name):
            raise InputError(f"{index} names {name[:100]!r}, expected safetensors files in its own folder")
    files = {name: ArrayFile(folder / name) for name in sorted(set(places.values()))}
    for tensor, name in places.items():
        if tensor not in files[name].places:
            raise InputError(f"{index} looks for {tensor[:100]!r} in {name}, which does not have it")
    for name, file in files.items():
        if others := [tensor for tensor in file.places if places.get(tensor) != name]:
            raise InputError(f"{folder / name} has tensors that {INDEX} does not name: {few_names(others)}")
    return {tensor: files[name] for tensor, name in places.items()}


def _check_readable(folder: Path) -> None:
    """Raise InputError where a folder has its weights in a format that is not read."""
    if (folder / FILE).exists():
        return
    for pattern, why in _OTHERS.items():
        if others := sorted(folder.glob(pattern)):
            raise InputError(
                f"{folder} has its weights in {others[0].name}; {why} are not read: load the folder where it was made, and "
                "save it as safetensors (in Transformers by model.save_pretrained(folder))"
            )
