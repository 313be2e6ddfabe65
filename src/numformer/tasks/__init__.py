"""Tasks: data, model, loss, metric and prediction in one object each."""

from numformer.tasks.classification import Classifier
from numformer.tasks.language_model import LanguageModel
from numformer.tasks.load import load_task
from numformer.tasks.masked_language_model import MaskedLanguageModel
from numformer.tasks.question_answering import QuestionAnswerer
from numformer.tasks.summarisation import Summariser
from numformer.tasks.tagging import Tagger
from numformer.tasks.translation import Translator

__all__ = [
    "Classifier",
    "LanguageModel",
    "MaskedLanguageModel",
    "QuestionAnswerer",
    "Summariser",
    "Tagger",
    "Translator",
    "load_task",
]
