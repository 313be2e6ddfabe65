"""Tagging: format, words as tokens, objective, and the task that has them."""

from numformer.tasks.tagging.tagger import Tagger as Tagger
