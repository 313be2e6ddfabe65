"""Models as config.json and the names of weights describe them, which are Hugging Face's."""

from __future__ import annotations

import math
import os
from typing import Any

from numformer.errors import InputError
from numformer.models.build import build_model, task_of, tasks_of
from numformer.models.config import ArchitectureConfig
from numformer.models.heads import HEADS, Headed
from numformer.models.layouts import Names
from numformer.models.registry import ARCHITECTURES, Architecture, architecture_of
from numformer.nn import init

MEAN = "Mean"  # before the class of a classifier of texts by the mean of their positions, which Hugging Face has not


def to_disk(model: Any) -> dict[str, Any]:
    """Return the keys of a model's config.json."""
    architecture, extra = architecture_of(model.config), {}
    name = architecture.class_on_disk
    if isinstance(model, Headed):
        name, extra = architecture.class_prefix + model.suffix, model.to_disk()
    if getattr(model, "pooling", None) == "mean":
        name = MEAN + name
    return model.config.to_disk() | {"architectures": [name]} | extra


def from_disk(keys: dict[str, Any], where: str) -> Any:
    """Return a model of the kind that a config.json describes, its weights undrawn.

    Raises InputError for an architecture that is not known, for what its config does not take, and for a model that is larger
    than the memory of this machine.
    """
    kind = keys.get("model_type")
    if kind not in tuple(ARCHITECTURES):  # it may be anything that JSON can say
        raise InputError(f"{where}: model_type is {kind!r}, supported are {', '.join(sorted(ARCHITECTURES))}")
    architecture = ARCHITECTURES[str(kind)]
    names = keys.get("architectures") or [""]
    name = str(names[0]) if isinstance(names, list) else str(names)
    task, settings = _task_of_class(name, architecture), dict[str, Any]()
    if task == "classify" and keys.get("problem_type") == "regression":  # one class of Hugging Face does both
        task = "regress"
        settings |= {
            name: _number(keys, f"target_{name}", default, where) for name, default in (("mean", 0.0), ("std", 1.0))
        }
        if settings["std"] <= 0:
            raise InputError(f"{where}: target_std must be above 0, got {settings['std']!r}")
    if task in ("classify", "tag"):
        settings["labels"] = _labels(keys, where)
    if task in ("classify", "regress"):
        settings["pooling"] = "mean" if name.startswith(MEAN) else "first"
    config = architecture.config.from_disk(keys)
    _check_memory(config, where)
    try:
        with init.undrawn():
            return build_model(config, task, **settings)
    except MemoryError:
        raise InputError(f"{where}: the model does not fit into the memory of this machine") from None


def names_of(model: Any) -> Names:
    """Return the names of a model's parameters, here and on disk."""
    layout, task = architecture_of(model.config).layout, task_of(model)
    return layout.names("classify" if task == "regress" else task, isinstance(model, Headed))


def _check_memory(config: ArchitectureConfig, where: str) -> None:
    """Raise InputError for a model whose weights alone are more than the machine's memory, before anything is reserved."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):  # not every system says so
        return
    there, needed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 4 * config.least_weights
    if needed > there:
        raise InputError(
            f"{where}: a model of these sizes takes {needed / 2**30:,.0f} GiB at least, "
            f"and this machine has {there / 2**30:,.0f} GiB of memory"
        )


def _task_of_class(name: str, architecture: Architecture) -> str:
    """Return the task that a class of Hugging Face does; for one that is not known, what the architecture is made for."""
    tasks = tasks_of(architecture)
    for task in tasks:
        if task in HEADS and name.endswith(HEADS[task].suffix):
            return task
    return tasks[0]


def _number(keys: dict[str, Any], name: str, default: float, where: str) -> float:
    value = keys.get(name, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InputError(f"{where}: {name} must be a number, got {value!r}")
    return float(value)


def _labels(keys: dict[str, Any], where: str) -> list[str]:
    labels = keys.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    try:
        return [str(labels[str(number)]) for number in range(len(labels))]
    except (KeyError, TypeError):
        raise InputError(f"{where}: id2label must number the labels from 0, got {labels!r}") from None
