"""Language modelling: windows of a text or packed examples in, a model that continues text out."""

from numformer.tasks.language_model.language_model import LanguageModel as LanguageModel
from numformer.tasks.language_model.objective import LanguageModelObjective as LanguageModelObjective
