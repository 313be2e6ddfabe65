"""Opening a folder as the task that it was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numformer.models.build import task_of
from numformer.models.heads import Headed
from numformer.models.registry import architecture_of
from numformer.pretrained.opening import Opened
from numformer.tasks import TABLE, task_class
from numformer.tasks.shared.start import open_source
from numformer.tasks.shared.task import Task, settings_of


def load(source: str | Path, *, last: bool = False, base: str | Path | None = None) -> Any:
    """Return the trained task of a run, its best/, or any model, with its `model` and its `tokenizer`.

    `source` is a folder (of a run, or as Hugging Face has them), a GGUF file, a name from `numformer models`, or
    hf:owner/name, which alone asks a network. A run gives its best weights where it has them, those of its last step with
    `last`, and the task has its settings; an encoder without a head gives an Embedder. Adapters come with the model that
    they name, or that `base` holds, and its tokenizer where they have none. Raises InputError when something is missing or
    damaged.
    """
    return task_with(_with_tokenizer(open_source(source, last, base)))


load_task = load


def open_any(source: str | Path, last: bool = False) -> Opened:
    """Return the model that `load` would open, with its tokenizer; raises InputError as it does."""
    return _with_tokenizer(open_source(source, last))


def _with_tokenizer(opened: Opened) -> Opened:
    return opened._replace(tokenizer=_kind_of(opened.model).tokenizer_of(opened))


def task_with(opened: Opened) -> Task:
    """Return the task that a model was trained for, with the settings of its run; an Embedder for one without a head."""
    settings = settings_of(opened.path)
    kind = _kind_of(opened.model)
    if (name := str(settings.get("task"))) in TABLE and task_class(name).model_class is kind.model_class:
        kind = task_class(name)
    task = kind(opened.model, opened.tokenizer)
    task.use_settings(settings)
    task.use_folder(opened.path)
    task._run = opened.path
    return task


def has_task(model: Any) -> bool:
    """Tell whether a model does a task as it is, and is not an encoder that waits for a head."""
    return isinstance(model, Headed) or architecture_of(model.config).task is not None


def _kind_of(model: Any) -> type[Task]:
    return task_class(task_of(model) if has_task(model) else "embed")
