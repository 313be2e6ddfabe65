"""Tasks: data, model, loss, metric and prediction in one object each."""

from numformer.tasks.language_model import LanguageModel

__all__ = ["LanguageModel"]
