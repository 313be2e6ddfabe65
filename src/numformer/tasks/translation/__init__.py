"""Translation, and every other way from a text to a text: format, objective, search, and the task that has them."""

from numformer.tasks.translation.translator import Translator as Translator
