"""Opening a folder as the task that it was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numformer.models.build import task_of
from numformer.tasks.classification import Classifier
from numformer.tasks.language_model import LanguageModel
from numformer.tasks.masked_language_model import MaskedLanguageModel
from numformer.tasks.question_answering import QuestionAnswerer
from numformer.tasks.summarisation import Summariser
from numformer.tasks.tagging import Tagger
from numformer.tasks.task import load_model_of, settings_of
from numformer.tasks.translation import Translator

TASKS: dict[str, type[Any]] = {
    task.name: task
    for task in (LanguageModel, MaskedLanguageModel, Translator, Summariser, Classifier, Tagger, QuestionAnswerer)
}


def load_task(folder: str | Path) -> Any:
    """Return the trained task of a run folder, its best/, or a saved model, with the settings of the run where there is one.

    Raises InputError when the folder is incomplete or damaged.
    """
    model = load_model_of(folder)
    kind = TASKS[task_of(model)]
    settings = settings_of(folder)
    named = TASKS.get(str(settings.get("task")), kind)
    task = (named if issubclass(named, kind) else kind)(model, kind.load_tokenizer(folder))
    if hasattr(task, "use_settings"):
        task.use_settings(settings)
    return task
