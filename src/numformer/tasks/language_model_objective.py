"""What a language model trains on: windows of text, and the loss of the next token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from numformer.data import TokenWindows
from numformer.errors import InputError
from numformer.random import generator
from numformer.tasks.objective import EVALUATION_TOKENS, Batch, Objective
from numformer.training import TrainConfig


class LanguageModelObjective(Objective):
    """Windows of text; the batch of a step depends on the seed and the step alone."""

    figures: ClassVar[tuple[str, ...]] = ("loss",)

    def __init__(
        self, model: Any, tokenizer: Any, train_tokens: np.ndarray, valid_tokens: np.ndarray | None, train: TrainConfig
    ) -> None:
        super().__init__(model, tokenizer, train)
        self.windows = TokenWindows(train_tokens, model.config.max_seq_len, "training text")
        self.valid_tokens = valid_tokens
        self.batch_size = train.num_sequences(self.windows.length)

    def batch(self, step: int) -> Batch:
        """Return inputs and targets [B T] of a step."""
        return self.windows.sample(generator(self.train.seed, step), self.batch_size)

    def held_out(self) -> Iterator[Batch] | None:
        """Return windows of the held-out text."""
        if self.valid_tokens is None:
            return None
        return windows_of(self.valid_tokens, self.model.config.max_seq_len, self.train.eval_examples)

    def describe(self) -> str:
        """Count the parameters and the tokens."""
        return f"{super().describe()}, {len(self.windows.tokens):,} tokens of text to train on"


def windows_of(tokens: np.ndarray, max_seq_len: int, max_windows: int | None) -> Iterator[Batch]:
    """Return the windows of a text in order, at most `max_windows` spread over it.

    Raises InputError for a text of fewer than two tokens, and for fewer than one window.
    """
    if len(tokens) < 2:
        raise InputError(f"measuring the loss takes a text of at least 2 tokens, got {len(tokens)}")
    if max_windows is not None and max_windows < 1:
        raise InputError(f"max_windows must be at least 1, got {max_windows}")
    length = min(max_seq_len, len(tokens) - 1)
    return TokenWindows(tokens, length).sequential(max(1, EVALUATION_TOKENS // length), max_windows)
