"""Opening a folder as the task that it was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numformer.models.build import task_of
from numformer.pretrained import adapter_of
from numformer.tasks import TABLE, task_class
from numformer.tasks.shared.start import base_tokenizer, load_model_of
from numformer.tasks.shared.task import Task, settings_of
from numformer.training.answering import answering_folder


def load(folder: str | Path, *, last: bool = False, base: str | Path | None = None) -> Any:
    """Return the trained task of a run folder, its best/, or a saved model, with its `model` and its `tokenizer`.

    A run gives its best weights where it has them, those of its last step with `last`, and the task has its settings.
    Adapters come with the model that they name, or that `base` holds, and its tokenizer where they have none.
    Raises InputError when the folder is incomplete or damaged.
    """
    model = load_model_of(folder, last, base)
    settings = settings_of(folder)
    kind = _task_of(model, str(settings.get("task")))
    path = answering_folder(folder, last)
    has_tokenizer = adapter_of(model) is None or (path / "tokenizer.json").exists()
    task = kind(model, kind.load_tokenizer(path) if has_tokenizer else base_tokenizer(model))
    task.use_settings(settings)
    return task


load_task = load


def _task_of(model: Any, name: str) -> type[Task]:
    """Return the task of a name when it has such models, else the task that the model says it does."""
    kind = task_class(task_of(model))
    named = task_class(name) if name in TABLE else kind
    return named if named.model_class is kind.model_class else kind
