"""Models as config.json and the names of weights describe them, which are Hugging Face's."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from numformer.errors import InputError
from numformer.models.build import build_backbone, build_model, tasks_of
from numformer.models.config import ArchitectureConfig
from numformer.models.heads import HEADS, Headed
from numformer.models.layouts import Names
from numformer.models.memory import check_memory
from numformer.models.registry import ARCHITECTURES, Architecture, architecture_of
from numformer.nn import init

BARE = "Model"  # ends the class of a model that has no head
MEAN = "Mean"  # before the class of a classifier of texts by the mean of their positions, which Hugging Face has not

SAME_NAMES = {
    "regress": "classify",
    "embed": None,
}  # tasks whose models have the names of another's, or of the backbone's
SENTENCE_ENCODER = (
    "sentence_encoder"  # the settings of a SentenceEncoder, which stand beside a config.json and not in it
)


def to_disk(model: Any) -> dict[str, Any]:
    """Return the keys of a model's config.json."""
    architecture, extra = architecture_of(model.config), {}
    name = architecture.class_on_disk or architecture.class_prefix + BARE
    if isinstance(model, Headed):
        name, extra = architecture.class_prefix + model.suffix, model.to_disk()
    if getattr(model, "pooling", None) == "mean":
        name = MEAN + name
    return model.config.to_disk() | {"architectures": [name]} | extra


def from_disk(keys: dict[str, Any], where: str, weights: Collection[str] = ()) -> Any:
    """Return a model of the kind that a config.json describes, its weights undrawn; `weights` are the names in its file.

    A class without a head gives a backbone, where the architecture does nothing on its own. Raises InputError for an
    architecture that is not known, for what its config does not take, and for a model that is larger than the memory of this
    machine.
    """
    kind = keys.get("model_type")
    if kind not in tuple(ARCHITECTURES):  # it may be anything that JSON can say
        raise InputError(f"{where}: model_type is {kind!r}, supported are {', '.join(sorted(ARCHITECTURES))}")
    architecture = ARCHITECTURES[str(kind)]
    task, settings = _task_of(keys, architecture, where)
    config = architecture.config.from_disk(keys)
    _check_size(config, where, len(weights))
    try:
        with init.undrawn():
            model = build_backbone(config) if task is None else build_model(config, task, **settings)
            if task in (None, "embed"):  # the layer that makes summaries is for those who start from it
                model.backbone.prepare_for_head(summarises=any("pooler." in name for name in weights), seed=0)
            return model
    except MemoryError:
        raise InputError(f"{where}: the model does not fit into the memory of this machine") from None


def head_from_disk(keys: dict[str, Any], backbone: Any, where: str) -> Any:
    """Return a backbone with the head that a config.json describes, undrawn as what else is new.

    Raises InputError for a config.json of another architecture, and for one without a head.
    """
    if keys.get("model_type") != backbone.config.model_type:
        raise InputError(
            f"{where}: model_type is {keys.get('model_type')!r}, the model's is {backbone.config.model_type!r}"
        )
    task, settings = _task_of(keys, architecture_of(backbone.config), where)
    if task not in HEADS:
        raise InputError(f"{where}: architectures is {keys.get('architectures')!r}, expected a class with a head")
    with init.undrawn():
        return HEADS[task](backbone, **settings)


def names_of(model: Any) -> Names:
    """Return the names of a model's parameters, here and on disk."""
    architecture = architecture_of(model.config)
    task = model.task if isinstance(model, Headed) else architecture.task
    return architecture.layout_of(model.config).names(SAME_NAMES.get(str(task), task), isinstance(model, Headed))


def _check_size(config: ArchitectureConfig, where: str, num_tensors: int) -> None:
    """Raise InputError for a model that no file of so many tensors holds, or no memory of this machine, before it is made."""
    num_layers = sum(getattr(config, name) for name in config.lengths if name.endswith("layers"))
    if 0 < num_tensors < num_layers:
        raise InputError(
            f"{where}: a model of {num_layers:,} layers has more than the {num_tensors:,} tensors there are"
        )
    try:
        check_memory(config.least_weights)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _task_of(keys: dict[str, Any], architecture: Architecture, where: str) -> tuple[str | None, dict[str, Any]]:
    """Return the task of the model that a config.json describes, None without a head, and the settings of its head."""
    names = keys.get("architectures") or [""]
    name = str(names[0]) if isinstance(names, list) else str(names)
    task, settings = _task_of_class(name, architecture), dict[str, Any]()
    if SENTENCE_ENCODER in keys and "embed" in tasks_of(architecture):  # whatever class it was trained as before
        task, settings = "embed", dict(keys[SENTENCE_ENCODER])
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
    return task, settings


def _task_of_class(name: str, architecture: Architecture) -> str | None:
    """Return the task that a class of Hugging Face does; for one that is not known, what the architecture is made for.

    The class without a head does none, unless the architecture does one on its own.
    """
    if architecture.task is None and name == architecture.class_prefix + BARE:
        return None
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
