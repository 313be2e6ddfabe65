"""What a language model is trained on: windows of a text, or examples packed into rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from numformer._notices import amount
from numformer.data import TokenWindows
from numformer.data.batching.batches import pad
from numformer.models.backbone import CausalModel
from numformer.ops.loss import IGNORE
from numformer.random import generator
from numformer.tasks.language_model.packing import Row
from numformer.tasks.shared.objective import Batch, ExamplesObjective, TargetObjective, places_counted
from numformer.tasks.shared.windows import windows_of
from numformer.tokenizers import Tokenizer
from numformer.training import TrainConfig

PADDING = -1  # the number of the segment that padding is: it sees itself alone


class LanguageModelObjective(TargetObjective):
    """Windows of text; the batch of a step depends on the seed and the step alone."""

    figures = ("loss",)

    def __init__(
        self,
        model: CausalModel,
        tokenizer: Tokenizer,
        train_tokens: np.ndarray,
        valid_tokens: np.ndarray | None,
        train: TrainConfig,
        length: int | None = None,
    ) -> None:
        super().__init__(model, tokenizer, train)
        self.windows = TokenWindows(train_tokens, length or model.config.max_seq_len, "training text")
        self.valid_tokens = valid_tokens
        self.batch_size = train.num_sequences(self.windows.length)

    def batch(self, step: int) -> Batch:
        """Return inputs and targets [B T] of a step."""
        return self.windows.sample(generator(self.train.seed, step), self.batch_size)

    def held_out(self) -> Iterator[Batch] | None:
        """Return windows of the held-out text."""
        if self.valid_tokens is None:
            return None
        return windows_of(self.valid_tokens, self.windows.length, self.train.eval_examples)

    def describe(self) -> str:
        """Count the parameters and the tokens."""
        return f"{super().describe()}, {amount(len(self.windows.tokens), 'tokens')} of text to train on"


class PackedObjective(ExamplesObjective):
    """Rows of examples side by side, none of which sees another; the loss is that of the tokens to be learned."""

    figures = ("loss",)
    examples_are = "rows"

    def lengths(self, example: Row) -> tuple[int, ...]:
        """Return the tokens of a row."""
        return (len(example.tokens),)

    @property
    def fills(self) -> tuple[int, ...]:
        """What fills up tokens, segments and targets."""
        return 0, PADDING, IGNORE

    def collate(self, examples: Sequence[Row]) -> Batch:
        """Return tokens, numbers of their segments, and targets [B T]."""
        columns = zip(*((row.tokens, row.segments, row.targets) for row in examples), strict=True)
        return tuple(pad(column, value) for column, value in zip(columns, self.fills, strict=True))

    def scored(self, *batch: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the logits [N V] of the targets [N] that count; no others are computed where these are known."""
        tokens, segments, targets = batch
        at = places_counted(targets)
        return self.model(tokens, segments=segments, at=at), targets if at is None else targets.reshape(-1)[at]
