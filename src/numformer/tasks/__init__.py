"""Tasks: data, model, loss, metric and prediction in one object each.

The table below is all that the rest of numformer knows of them: a new task is a file (or a folder) and its lines here.
No task is imported before it is asked for, so that those who need none do not wait for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numformer.tasks.chat import Chat as Chat
    from numformer.tasks.classification import Classifier as Classifier
    from numformer.tasks.embedding import Embedder as Embedder
    from numformer.tasks.language_model import LanguageModel as LanguageModel
    from numformer.tasks.loading import load as load
    from numformer.tasks.loading import load_task as load_task
    from numformer.tasks.masked_language_model import MaskedLanguageModel as MaskedLanguageModel
    from numformer.tasks.question_answering import QuestionAnswerer as QuestionAnswerer
    from numformer.tasks.regression import Regressor as Regressor
    from numformer.tasks.shared.task import Task
    from numformer.tasks.summarisation import Summariser as Summariser
    from numformer.tasks.tagging import Tagger as Tagger
    from numformer.tasks.translation import Translator as Translator


class TaskEntry(NamedTuple):
    """Where a task is, and what `numformer train NAME` does."""

    module: str
    class_name: str
    command: str


TABLE = {
    "lm": TaskEntry("language_model", "LanguageModel", "train a language model on a text"),
    "mlm": TaskEntry("masked_language_model", "MaskedLanguageModel", "pretrain an encoder on a text"),
    "seq2seq": TaskEntry("translation", "Translator", "train a translator on pairs of texts"),
    "summarise": TaskEntry("summarisation", "Summariser", "train a model that writes summaries"),
    "classify": TaskEntry("classification", "Classifier", "train a text classifier"),
    "tag": TaskEntry("tagging", "Tagger", "train a tagger of words"),
    "regress": TaskEntry("regression", "Regressor", "train a model that gives texts numbers"),
    "qa": TaskEntry("question_answering", "QuestionAnswerer", "train a model that finds answers in texts"),
}
EMBED = TaskEntry("embedding", "Embedder", "turn texts into vectors")  # which is not trained

__all__ = [
    "Chat",
    "Classifier",
    "Embedder",
    "LanguageModel",
    "MaskedLanguageModel",
    "QuestionAnswerer",
    "Regressor",
    "Summariser",
    "Tagger",
    "Translator",
    "load",
    "load_task",
]


def __dir__() -> list[str]:
    """Name what is for users, imported or not."""
    return sorted(__all__)


def task_class(name: str) -> type[Task]:
    """Return the class of a task by its name in commands, or of the one that is not trained."""
    module, class_name, _ = EMBED if name == "embed" else TABLE[name]
    found: type[Task] = getattr(importlib.import_module(f"numformer.tasks.{module}"), class_name)
    return found


def task_classes() -> list[type[Task]]:
    """Return the classes of all tasks."""
    return [task_class(name) for name in TABLE]


if not TYPE_CHECKING:  # a type checker knows the names, and finds misspelt ones

    def __getattr__(name: str) -> Any:
        """Import what is asked for."""
        modules = {row.class_name: row.module for row in (*TABLE.values(), EMBED)}
        modules |= {"load": "loading", "load_task": "loading", "Chat": "chat"}
        if name not in modules:
            raise AttributeError(f"module 'numformer.tasks' has no attribute {name!r}")
        return getattr(importlib.import_module(f"numformer.tasks.{modules[name]}"), name)
