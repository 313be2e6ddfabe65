"""Models: one readable file per architecture."""

from numformer.models.config import GPTConfig
from numformer.models.gpt import GPT

__all__ = ["GPT", "GPTConfig"]
