"""What tasks train on: logits, targets that may be left out (-100), and the loss and accuracy that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from numformer import ops
from numformer.autograd import Tensor, no_grad
from numformer.data.batches import LengthBatches
from numformer.nn import set_recompute
from numformer.training import TrainConfig
from numformer.training.workers import Workers

IGNORE = -100  # a target that does not count
EVALUATION_TOKENS = 2048  # in one forward pass: as much as a small training shard holds
Batch = tuple[np.ndarray, ...]


class Objective:
    """Batches whose last array is the targets; a subclass says what is in them and computes the logits."""

    criterion: ClassVar[str] = "loss"
    figures: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    unit: ClassVar[str] = "tokens"

    def __init__(self, model: Any, tokenizer: Any, train: TrainConfig, class_weights: np.ndarray | None = None) -> None:
        self.model, self.tokenizer, self.train, self.class_weights = model, tokenizer, train, class_weights
        set_recompute(model, train.recompute)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; every subclass writes its own."""
        raise TypeError(f"{type(self).__name__} has no batch")

    def held_out(self) -> Iterator[Batch] | None:
        """Return the batches to evaluate on, None without held-out data."""
        return None

    def describe(self) -> str:
        """Say what is trained on what."""
        return f"{self.model.num_parameters():,} parameters"

    def logits(self, *inputs: np.ndarray) -> Any:
        """Return the logits [... V] of the targets [...]."""
        return self.model(*inputs)

    def scored(self, *batch: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the logits of some sequences and the targets they are for."""
        return self.logits(*batch[:-1]), batch[-1]

    def loss_sum(self, *batch: np.ndarray) -> Tensor:
        """Return the summed loss of some sequences."""
        return self._loss_sum(*self.scored(*batch), self.train.label_smoothing)

    def num_tokens(self, *batch: np.ndarray) -> float:
        """Add up the weights of the targets that count; without class weights that is their number."""
        real = batch[-1] != IGNORE
        return float(self.class_weights[batch[-1][real]].sum()) if self.class_weights is not None else int(real.sum())

    def evaluate(self, workers: Workers) -> dict[str, float] | None:
        """Return the loss and the accuracy on held-out data, without dropout or label smoothing; None without targets."""
        batches = self.held_out()
        if batches is None:
            return None
        found = self.measure(batches, workers)
        return {name: found[name] for name in self.figures} if found["count"] else None

    def measure(self, batches: Iterator[Batch], workers: Workers) -> dict[str, float]:
        """Return the loss and the accuracy per target, and the number of targets."""
        sums = np.zeros(4)
        was_training = self.model.training
        self.model.eval()
        try:
            while group := list(islice(batches, 8 * workers.num_workers)):  # a long text is never all in memory
                sums += np.sum(list(workers.map(self._measure, group)), axis=0)
        finally:
            self.model.train(was_training)
        loss, weight, correct, count = sums.tolist()
        return {"loss": loss / (weight or 1), "accuracy": correct / (count or 1), "count": int(count)}

    def _measure(self, batch: Batch) -> tuple[float, float, int, int]:
        with no_grad(), np.errstate(over="ignore", invalid="ignore"):
            logits, targets = self.scored(*batch)
            loss = self._loss_sum(logits, targets).item()
        values = logits.data if isinstance(logits, Tensor) else logits
        correct, count = (values.argmax(axis=-1) == targets).sum(), (targets != IGNORE).sum()
        return loss, self.num_tokens(*batch), int(correct), int(count)

    def _loss_sum(self, logits: Any, targets: np.ndarray, label_smoothing: float = 0.0) -> Tensor:
        return ops.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            targets.reshape(-1),
            class_weights=self.class_weights,
            ignore_index=IGNORE,
            label_smoothing=label_smoothing,
            reduction="sum",
        )


class ExamplesObjective(Objective):
    """Examples of unequal length, in batches of similar lengths; a subclass pads them."""

    examples_are: ClassVar[str] = "examples"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        examples: Sequence[Any],
        valid: Sequence[Any] | None,
        train: TrainConfig,
        class_weights: np.ndarray | None = None,
    ) -> None:
        super().__init__(model, tokenizer, train, class_weights)
        self.examples, self.valid = examples, valid
        self.batches = LengthBatches(
            [self.lengths(example) for example in examples],
            batch_size=train.max_sequences,
            batch_tokens=train.batch_tokens,
            seed=train.seed,
        )

    def lengths(self, example: Any) -> tuple[int, ...]:
        """Return the length of an example along each axis that is padded."""
        return (len(example[0]),)

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Pad examples into arrays, the targets last; every subclass writes its own."""
        raise TypeError(f"{type(self).__name__} has no collate")

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        return self.collate([self.examples[number] for number in self.batches.batch(max(0, step - 1))])

    def held_out(self) -> Iterator[Batch] | None:
        """Return the batches to evaluate on."""
        if not self.valid:
            return None
        return self.sequential(spread(self.valid, self.train.eval_examples))

    def sequential(self, examples: Sequence[Any]) -> Iterator[Batch]:
        """Yield every example once, in batches of similar lengths."""
        lengths = [self.lengths(example) for example in examples]
        batch_tokens = max(EVALUATION_TOKENS, *(sum(each) for each in lengths)) if lengths else None
        for numbers in LengthBatches(lengths, batch_tokens=batch_tokens):
            yield self.collate([examples[number] for number in numbers])

    def describe(self) -> str:
        """Count the parameters and the examples."""
        held_out = f"{len(self.valid):,}" if self.valid else "none"
        return (
            f"{self.model.num_parameters():,} parameters, {len(self.examples):,} {self.examples_are} to train on "
            f"(an epoch is {len(self.batches):,} steps), {held_out} held out"
        )


def spread(examples: Sequence[Any], most: int | None) -> Sequence[Any]:
    """Return at most so many examples, taken evenly from the whole; None takes all."""
    count = len(examples) if most is None else min(len(examples), most)
    return [examples[number * len(examples) // count] for number in range(count)]
