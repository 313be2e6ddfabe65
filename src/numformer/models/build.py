"""Models from a config: one that does a task on its own, or a backbone with the head of the task."""

from __future__ import annotations

import inspect
from typing import Any

from numformer._names import rename_settings, task_name
from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig, ModelConfig
from numformer.models.heads import HEADS, Headed
from numformer.models.registry import ARCHITECTURES, Architecture, architecture_of

SAME_MODEL = {"summarise": "seq2seq"}  # tasks that differ in their data alone


def build_model(
    config: ArchitectureConfig | ModelConfig, task: str = "classify", *, seed: int = 0, **settings: Any
) -> Any:
    """Return a new model of a config for a task: lm, mlm, seq2seq, summarise, classify, regress, tag, qa, embed.

    Other words for them do, too. A ModelConfig takes the architecture that fits the task. `settings` are those of the head,
    such as labels (names or their number) and pooling. Raises InputError for an unknown task or setting, and for a task that
    the architecture cannot do.
    """
    name = model_task(task)
    if isinstance(config, ModelConfig):
        config = _default_for(name, task).config.from_general(config.given())
    architecture = architecture_of(config)
    if name not in tasks_of(architecture):
        raise InputError(f"a {type(config).__name__} does not fit the task {task}")
    own = name == architecture.task
    settings = rename_settings(settings, _settings_of(architecture.model if own else HEADS[name]))
    if own:
        return architecture.model(config, seed=seed, **settings)
    return HEADS[name](architecture.model(config, seed=seed), seed=seed, **settings)


def build_backbone(config: ArchitectureConfig, seed: int = 0) -> Any:
    """Return a new model to put a head on."""
    return architecture_of(config).model(config, seed=seed)


def model_task(word: str) -> str:
    """Return the task that a model does for a task, given by any word for it: "seq2seq" for "summarise"."""
    name = word if word in HEADS else task_name(word)  # a model may do what no command is for, as to make vectors
    return SAME_MODEL.get(name, name)


def tasks_of(architecture: Architecture) -> list[str]:
    """Return the tasks that models of an architecture do, on their own or with a head."""
    own = [] if architecture.task is None else [architecture.task]
    return own + [name for name, head in HEADS.items() if head.fits(architecture.model)]


def task_of(model: Any) -> str:
    """Return the task that a model does, with its head where it has one; raises InputError where it needs one."""
    task = model.task if isinstance(model, Headed) else architecture_of(model.config).task
    if task is None:
        raise InputError(f"a {type(model).__name__} does no task without a head")
    return str(task)


def _settings_of(kind: type[Any]) -> list[str]:
    """Return what a model or a head takes besides the config or the backbone, which comes first, and the seed."""
    parameters = list(inspect.signature(kind).parameters.values())[1:]
    return [p.name for p in parameters if p.name != "seed" and p.kind is not p.VAR_KEYWORD]


def _default_for(name: str, task: str) -> Architecture:
    """Return the default architecture that does a task on its own, else the one that looks both ways and does it."""
    able = [each for each in ARCHITECTURES.values() if each.is_default and name in tasks_of(each)]
    for architecture in able:
        if name == architecture.task:
            return architecture
    for architecture in able:
        if architecture.model.looks_ahead:
            return architecture
    raise InputError(f"no architecture fits the task {task}")
