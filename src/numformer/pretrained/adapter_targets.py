"""Which linear layers of a model get adapters, and what they are called here and on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from numformer.errors import InputError
from numformer.models.disk import names_of
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.lora import LoRALinear, linear_layers


def whole_parts(model: Any) -> list[str]:
    """Return the modules that are trained whole beside the adapters: the head that was put on a backbone, and its summary."""
    modules = dict(model.named_modules())
    return [name for name in getattr(model, "head_parts", ()) if not isinstance(modules[name], LoRALinear)]


def chosen(model: Any, targets: Iterable[str]) -> list[str]:
    """Return the names of the linear layers that get adapters, those of attention without targets.

    Raises InputError for a target that fits none, with the names that there are.
    """
    targets, layers = tuple(targets), _adaptable(model)
    if not targets:
        return [
            f"{path}.{child}"
            for path, module in model.named_modules()
            if isinstance(module, MultiHeadAttention)
            for child, layer in module.named_children()
            if f"{path}.{child}" in layers
        ]
    for target in targets:
        if not any(_fits(target, name, there) for name, there in layers.items()):
            ends = dict.fromkeys(name.rpartition(".")[2] for pair in layers.items() for name in pair)
            raise InputError(
                f"no linear layer of {type(model).__name__} is called {target!r}; there are {', '.join(ends)}"
            )
    return [name for name, there in layers.items() if any(_fits(target, name, there) for target in targets)]


def listed(model: Any, targets: Iterable[str]) -> list[str]:
    """Return the layers that a list of PEFT's names: whole names on disk, or their last parts."""
    return [
        name
        for name, there in _adaptable(model).items()
        if any(there == target or there.endswith(f".{target}") for target in targets)
    ]


def disk_names(model: Any) -> dict[str, str]:
    """Return the names that the linear layers of a model have on disk, by ours."""
    names = names_of(model)
    return {name: names.to_disk(f"{name}.weight").removesuffix(".weight") for name in linear_layers(model)}


def shortest(there: Mapping[str, str], adapted: Iterable[str]) -> list[str]:
    """Return the shortest ends of names on disk that tell what is adapted: one to three parts of each name, or the whole."""
    whole = [there[name] for name in adapted]
    for size in (1, 2, 3):
        ends = {".".join(name.split(".")[-size:]) for name in whole}
        if sum(".".join(name.split(".")[-size:]) in ends for name in there.values()) == len(whole):
            return sorted(ends)
    return sorted(whole)


def _adaptable(model: Any) -> dict[str, str]:
    """Return the names on disk, by ours, of the linear layers that are not trained whole."""
    whole = whole_parts(model)
    return {
        name: there
        for name, there in disk_names(model).items()
        if not any(f"{name}.".startswith(f"{part}.") for part in whole)
    }


def _fits(target: str, *names: str) -> bool:
    return any(name == target or name.endswith(f".{target}") or fnmatchcase(name, target) for name in names)
