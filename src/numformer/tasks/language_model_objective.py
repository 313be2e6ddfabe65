"""What a language model trains on, for the Trainer: windows of text, and the loss of the next token."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from numformer import ops
from numformer.data import TokenWindows
from numformer.errors import InputError
from numformer.random import generator
from numformer.tape import no_grad
from numformer.tensor import Tensor
from numformer.training import TrainConfig
from numformer.training.workers import Workers

EVALUATION_TOKENS = 2048  # in one forward pass: as much as a small training shard holds


class LanguageModelTask:
    """Windows of text; the batch of a step depends on the seed and the step alone."""

    def __init__(
        self, model: Any, tokenizer: Any, train_tokens: np.ndarray, valid_tokens: np.ndarray | None, train: TrainConfig
    ) -> None:
        self.model, self.tokenizer, self.train, self.valid_tokens = model, tokenizer, train, valid_tokens
        self.windows = TokenWindows(train_tokens, model.config.max_seq_len, "training text")
        model.transformer.recompute = train.recompute

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return inputs and targets [B T] of a step."""
        return self.windows.sample(generator(self.train.seed, step), self.train.batch_size)

    def loss_sum(self, *batch: np.ndarray) -> Tensor:
        """Return the summed loss of some windows."""
        inputs, targets = batch
        return _loss_sum(self.model, inputs, targets, self.train.label_smoothing)

    def num_tokens(self, *batch: np.ndarray) -> int:
        """Count the targets."""
        return batch[1].size

    def describe(self) -> str:
        """Count the parameters and the tokens."""
        return f"{self.model.num_parameters():,} parameters, {len(self.windows.tokens):,} tokens of text to train on"

    def evaluate(self, workers: Workers) -> float | None:
        """Return the mean loss on held-out text, without dropout."""
        if self.valid_tokens is None:
            return None
        return mean_loss(self.model, self.valid_tokens, workers, self.train.eval_windows)[0]


def mean_loss(model: Any, tokens: np.ndarray, workers: Workers, max_windows: int | None) -> tuple[float, int]:
    """Return the loss per token over windows that follow one another, and the number of tokens; dropout is off.

    Raises InputError for a text of fewer than two tokens, and for fewer than one window.
    """
    if len(tokens) < 2:
        raise InputError(f"measuring the loss takes a text of at least 2 tokens, got {len(tokens)}")
    if max_windows is not None and max_windows < 1:
        raise InputError(f"max_windows must be at least 1, got {max_windows}")
    length = min(model.config.max_seq_len, len(tokens) - 1)
    batches = TokenWindows(tokens, length).sequential(max(1, EVALUATION_TOKENS // length), max_windows)

    def measure(batch: tuple[np.ndarray, np.ndarray]) -> tuple[float, int]:
        with no_grad(), np.errstate(over="ignore", invalid="ignore"):
            return _loss_sum(model, *batch).item(), int(batch[1].size)

    measured: list[tuple[float, int]] = []
    was_training = model.training
    model.eval()
    try:
        while group := list(islice(batches, 8 * workers.num_workers)):  # a long text is never all in memory
            measured += workers.map(measure, group)
    finally:
        model.train(was_training)
    count = sum(size for _, size in measured)
    return sum(loss for loss, _ in measured) / count, count


def _loss_sum(model: Any, inputs: np.ndarray, targets: np.ndarray, label_smoothing: float = 0.0) -> Tensor:
    logits = model(inputs)
    logits = logits.reshape(-1, logits.shape[-1])
    return ops.cross_entropy(logits, targets.reshape(-1), label_smoothing=label_smoothing, reduction="sum")
