"""Opening a folder as the task that it was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numformer.models.build import task_of
from numformer.tasks import TABLE, task_class
from numformer.tasks.shared.start import open_source
from numformer.tasks.shared.task import Task, settings_of


def load(source: str | Path, *, last: bool = False, base: str | Path | None = None) -> Any:
    """Return the trained task of a run, its best/, or any model, with its `model` and its `tokenizer`.

    `source` is a folder (of a run, or as Hugging Face has them) or a GGUF file. A run gives its best weights where it has
    them, those of its last step with `last`, and the task has its settings. Adapters come with the model that they name, or
    that `base` holds, and its tokenizer where they have none. Raises InputError when something is missing or damaged.
    """
    opened = open_source(source, last, base)
    settings = settings_of(opened.path)
    kind = _task_of(opened.model, str(settings.get("task")))
    task = kind(opened.model, kind.tokenizer_of(opened))
    task.use_settings(settings)
    return task


load_task = load


def _task_of(model: Any, name: str) -> type[Task]:
    """Return the task of a name when it has such models, else the task that the model says it does."""
    kind = task_class(task_of(model))
    named = task_class(name) if name in TABLE else kind
    return named if named.model_class is kind.model_class else kind
