"""Scores of every task, by their published definitions, and the pictures that go with them."""

from numformer.metrics.classification import accuracy, classification_scores, confusion_matrix, macro_f1
from numformer.metrics.curves import draw_curves
from numformer.metrics.entities import entities, entity_scores
from numformer.metrics.heat_maps import check_picture as check_picture  # for other rooms
from numformer.metrics.heat_maps import draw_attention, draw_confusion_matrix
from numformer.metrics.question_answering import exact_match, f1, normalise_answer, squad_scores
from numformer.metrics.translation import bleu, rouge

__all__ = [
    "accuracy",
    "bleu",
    "classification_scores",
    "confusion_matrix",
    "draw_attention",
    "draw_confusion_matrix",
    "draw_curves",
    "entities",
    "entity_scores",
    "exact_match",
    "f1",
    "macro_f1",
    "normalise_answer",
    "rouge",
    "squad_scores",
]
