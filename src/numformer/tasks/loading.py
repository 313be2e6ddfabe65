"""Opening a folder as the task that it was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numformer.errors import InputError
from numformer.models.build import task_of, tasks_of
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
    `last`, and the task has its settings. Adapters come with the model that they name, or that `base` holds, and its
    tokenizer where they have none. Raises InputError when something is missing or damaged, and for a model that does no task.
    """
    opened = open_source(source, last, base)
    if starts := tasks_started_by(opened.model):
        raise InputError(
            f"{source} holds a {type(opened.model).__name__}, which does no task of its own: start one from it, as by "
            f"numformer train {starts[0]} --from {source} (or {', '.join(starts[1:])})"
        )
    task = task_with(_with_tokenizer(opened))
    assert task is not None, "only what starts tasks does none"
    return task


load_task = load


def open_any(source: str | Path, last: bool = False) -> Opened:
    """Return the model that `load` would open, with its tokenizer, or one that does no task; raises InputError as it does."""
    return _with_tokenizer(open_source(source, last))


def _with_tokenizer(opened: Opened) -> Opened:
    kind = Task if tasks_started_by(opened.model) else task_class(task_of(opened.model))
    return opened._replace(tokenizer=kind.tokenizer_of(opened))


def task_with(opened: Opened) -> Task | None:
    """Return the task that a model was trained for, with the settings of its run; None for a model that does none."""
    if tasks_started_by(opened.model):
        return None
    settings = settings_of(opened.path)
    kind = task_class(task_of(opened.model))
    if (name := str(settings.get("task"))) in TABLE and task_class(name).model_class is kind.model_class:
        kind = task_class(name)
    task = kind(opened.model, opened.tokenizer)
    task.use_settings(settings)
    task.use_folder(opened.path)
    task._run = opened.path
    return task


def tasks_started_by(model: Any) -> list[str]:
    """Return the tasks that put a new head on a model that has none; none for one that does a task as it is."""
    architecture = architecture_of(model.config)
    if (isinstance(model, Headed) or architecture.task is not None) and task_of(model) in TABLE:
        return []
    return [
        name for name in tasks_of(architecture) if name in TABLE and name != "mlm"
    ]  # which goes on from its own kind
