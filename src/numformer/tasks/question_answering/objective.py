"""What question answering is trained on: windows of contexts, and where the answer begins and ends in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from numformer import ops
from numformer.autograd import Tensor, namespace_of
from numformer.ops.loss import IGNORE
from numformer.tasks.question_answering.windows import Window
from numformer.tasks.shared.encoding import pad_id, padded
from numformer.tasks.shared.objective import Batch, ExamplesObjective
from numformer.training.workers import Workers


class QAObjective(ExamplesObjective):
    """Windows, and the positions of the answer's first and last token."""

    criterion = "positions"  # the loss begins to rise long before the answers get worse
    figures = ("loss", "positions")
    unit = "targets"
    examples_are = "windows"

    def lengths(self, example: Window) -> tuple[int, ...]:
        """Return the number of tokens."""
        return (len(example.tokens),)

    def collate(self, examples: Sequence[Window]) -> Batch:
        """Return tokens, their mask and segments [B T], and targets [B 2]."""
        return (*collate_windows(examples, pad_id(self.tokenizer)), np.array([window.target for window in examples]))

    def num_correct(self, outputs: Any, targets: Any) -> Any:
        """Count the beginnings and ends of answers that are right, of the windows that have an answer."""
        return ((outputs.argmax(axis=-1) == targets) & targets.any(axis=1, keepdims=True)).sum()

    def num_scored(self, targets: np.ndarray) -> int:
        """Count the beginnings and ends of answers."""
        return 2 * int(targets.any(axis=1).sum())

    def measure(self, batches: Iterator[Batch], workers: Workers) -> dict[str, float]:
        """Return the loss, the share of `positions` (beginnings and ends of answers) that are right, and their number."""
        found = super().measure(batches, workers)
        return {"loss": found["loss"], "positions": found["accuracy"], "count": max(1, found["count"])}

    def loss_sum(self, *batch: np.ndarray) -> Tensor:
        """Return the summed loss; smoothing spreads over the real positions of each window."""
        smoothing, (tokens, mask, segments, targets) = self.train.label_smoothing, batch
        logits = self.model(tokens, mask, segments)
        loss = self.chosen_loss(logits, targets)
        if not smoothing:
            return loss
        xp = namespace_of(targets)
        counted = xp.astype((targets != IGNORE)[:, :, None] & mask[:, None], xp.float32)
        shares = counted / xp.astype(xp.sum(mask, axis=1), xp.float32)[:, None, None]
        spread = (ops.where(mask[:, None], ops.log_softmax(logits), 0.0) * shares).sum()
        return loss * (1.0 - smoothing) - spread * smoothing


def collate_windows(windows: Sequence[Window], value: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens [B T] (or [B T C]), their mask and their segments [B T]."""
    tokens, mask = padded([window.tokens for window in windows], value)
    return tokens, mask, padded([window.segments for window in windows], 0)[0]
