"""Files for models and loops of one's own: the weights of any module, and all that a loop needs to go on, in safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from numformer.errors import InputError
from numformer.nn import Module
from numformer.pretrained import read_safetensors, under, write_safetensors

CONTENT = "content"  # the entry of a checkpoint's metadata that names its parts and holds what is no array


@runtime_checkable
class HasState(Protocol):
    """What can be a part of a checkpoint: a model, an optimizer, a scheduler, or an object of one's own."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return all that is needed to go on, as arrays by name."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Go on from there."""


def save_weights(model: Module, path: str | Path) -> None:
    """Write what `model.state_dict()` holds to one .safetensors file, under the same names.

    A tied parameter is in it once, under its first name. An existing file is replaced in one step: a crash leaves the old
    one. Raises InputError when `path` ends otherwise, or cannot be written.
    """
    write_safetensors(_checked(path), _arrays("the model", model), {"format": "pt"})


def load_weights(model: Module, path: str | Path) -> None:
    """Copy the arrays of a .safetensors file into a model of the same names and shapes; ties stay.

    Raises InputError, and changes nothing, when the file is missing or damaged, or lists every name that does not fit.
    """
    arrays, _ = read_safetensors(Path(path))
    try:
        model.load_state_dict(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def save_checkpoint(path: str | Path, /, **parts: Any) -> None:
    """Write the states of a loop's parts to one .safetensors file: `save_checkpoint(path, model=model, step=step)`.

    A part has a `state_dict`, as modules, optimizers and schedulers have, or is a number, a text, or a list or dict of
    such. The file is replaced in one step, so all parts are of the same moment.
    Raises InputError for another part, and when the file cannot be written or its name does not end in .safetensors.
    """
    states = {name: _arrays(name, part) for name, part in parts.items() if isinstance(part, HasState)}
    values = {name: part for name, part in parts.items() if name not in states}
    try:
        content = json.dumps({"parts": list(states), "values": values}, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"a part of a checkpoint has a state_dict, or is a number, a text, or a list or dict of such: {error}"
        ) from None
    arrays = {f"{name}.{key}": array for name, state in states.items() for key, array in state.items()}
    write_safetensors(_checked(path), arrays, {CONTENT: content})


def load_checkpoint(path: str | Path, /, **parts: HasState) -> dict[str, Any]:
    """Put the states of a file of `save_checkpoint` into parts of the same names, and return its numbers, texts and lists.

    Parts that are not asked for stay in the file. Raises InputError when the file is missing, damaged or something else,
    lacks a part, or holds that of another object; parts named before that one have their state then.
    """
    arrays, metadata = read_safetensors(Path(path))
    try:
        content = json.loads(metadata[CONTENT])
        saved, values = list(content["parts"]), dict(content["values"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} was not written by save_checkpoint") from None
    for name, part in parts.items():
        if not isinstance(part, HasState):
            raise InputError(f"{name} has no state to load: load_checkpoint returns what is no array")
        if name not in saved:
            raise InputError(f"{path} has no part {name!r}; it has {', '.join(saved) or 'none'}")
        try:
            part.load_state_dict(under(f"{name}.", arrays))
        except InputError as error:
            raise InputError(f"{path}: {name}: {error}") from None
    return values


def _checked(path: str | Path) -> Path:
    if Path(path).suffix != ".safetensors":
        raise InputError(f"weights are written to a file that ends in .safetensors, got {path}")
    return Path(path)


def _arrays(what: str, part: HasState) -> dict[str, np.ndarray]:
    """Return the state of a part as arrays; raises InputError for one that has something else in it."""
    arrays = {name: np.asarray(value) for name, value in part.state_dict().items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"the state of {what} holds no array of numbers under {name!r}")
    return arrays


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays as Python's, which JSON knows."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"got a {type(value).__name__}")
