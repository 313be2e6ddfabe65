"""What tasks train on: batches, the outputs for their targets, and the loss and accuracy that follow from them.

These are objectives in the sense of training (`numformer.training.step.Objective`): they belong to one training, and a task
makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from numformer import ops
from numformer._notices import amount
from numformer.autograd import Tensor, inference, kind_of
from numformer.autograd.array import NUMPY
from numformer.data.batching.batches import LengthBatches
from numformer.errors import InputError
from numformer.nn.module import Module
from numformer.ops.loss import IGNORE
from numformer.tasks.shared.encoding import AnyTokenizer, pad_id
from numformer.training import TrainConfig
from numformer.training.workers import Workers

EVALUATION_TOKENS = 2048  # in one forward pass: as much as a small training shard holds
Batch = tuple[np.ndarray, ...]
Loss = Callable[[Tensor, np.ndarray], Tensor]  # outputs [N C] or [N], targets [N] -> the mean loss []


class TargetObjective:
    """Batches whose last array is the targets, classes by default; a subclass says what is in them.

    A target may be left out (-100). `figures` are what held-out data is measured by, `criterion` is the one that says which
    is best, and `unit` what is counted.
    """

    criterion: str = "loss"
    figures: tuple[str, ...] = ("loss", "accuracy")
    unit: str = "tokens"

    def __init__(
        self, model: Module, tokenizer: AnyTokenizer, train: TrainConfig, class_weights: np.ndarray | None = None
    ) -> None:
        self.model: Any = model  # with the config of its architecture
        self.tokenizer: Any = tokenizer
        self.train, self.class_weights = train, class_weights
        self.own_loss: Loss | None = None  # takes the place of `loss_of`

    @property
    def loss_unit(self) -> str:
        """What the loss is in, such as "nats per token"."""
        return f"nats per {self.unit.removesuffix('s')}"

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        raise NotImplementedError

    def held_out(self) -> Iterator[Batch] | None:
        """Return the batches to evaluate on, None without held-out data."""
        return None

    def describe(self) -> str:
        """Say what is trained on what."""
        trained = sum(parameter.size for parameter in self.model.parameters() if parameter.requires_grad)
        count = self.model.num_parameters()
        return amount(count, "parameters") + (f", {trained:,} of them trained" if trained < count else "")

    def scored(self, *batch: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the outputs of the model for some sequences, logits [... C], and the targets [...] that they are for."""
        return self.model(*batch[:-1]), batch[-1]

    def loss_of(
        self,
        outputs: Any,
        targets: np.ndarray,
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
    ) -> Tensor:
        """Return the summed loss of outputs; by default the cross-entropy of classes."""
        return ops.cross_entropy(
            outputs.reshape(-1, outputs.shape[-1]),
            targets.reshape(-1),
            class_weights=class_weights,
            ignore_index=IGNORE,
            label_smoothing=label_smoothing,
            reduction="sum",
        )

    def loss_sum(self, *batch: np.ndarray) -> Tensor:
        """Return the summed loss of some sequences."""
        return self.chosen_loss(*self.scored(*batch), self.train.label_smoothing, self.class_weights)

    def use_loss(self, loss: Loss) -> None:
        """Train and validate by a loss of one's own; raises InputError where the usual one was given settings."""
        if not callable(loss):
            raise InputError(f"loss must be a function of outputs and targets, got {loss!r}")
        if self.class_weights is not None or self.train.label_smoothing:
            raise InputError("class_weights and label_smoothing belong to the usual loss: leave them out beside loss")
        self.own_loss = loss

    def chosen_loss(
        self,
        outputs: Any,
        targets: np.ndarray,
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
    ) -> Tensor:
        """Return the summed loss of outputs: of the objective, or the mean of a loss of one's own times the targets."""
        if self.own_loss is None:
            return self.loss_of(outputs, targets, label_smoothing, class_weights)
        outputs, targets = self.flat(outputs, targets)
        if not len(targets):
            return (outputs * 0.0).sum()
        loss = self.own_loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.shape != ():
            got = f"a Tensor {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise InputError(f"loss must return the mean over its targets, a Tensor with one number; got {got}")
        return loss * float(len(targets))

    def flat(self, outputs: Any, targets: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return what a loss of one's own is called with: logits [N C] and targets [N], without those left out."""
        flat = outputs.reshape(-1, outputs.shape[-1])
        targets = targets.reshape(-1)
        counted = targets != IGNORE
        return (flat, targets) if counted.all() else (flat[np.flatnonzero(counted)], targets[counted])

    def num_targets(self, targets: np.ndarray) -> int:
        """Count the targets that are not left out."""
        return int((targets != IGNORE).sum())

    def num_scored(self, targets: np.ndarray) -> int:
        """Count the targets that the accuracy is a share of; by default those that have a loss."""
        return self.num_targets(targets)

    def num_correct(self, outputs: Any, targets: Any) -> Any:
        """Count the targets that the model takes for the likeliest."""
        return (outputs.argmax(axis=-1) == targets).sum()

    def num_tokens(self, *batch: np.ndarray) -> float:
        """Add up the weights of the targets that count; without class weights that is their number."""
        if self.class_weights is None:
            return self.num_targets(batch[-1])
        return float(self.class_weights[batch[-1][batch[-1] != IGNORE]].sum())

    def evaluate(self, workers: Workers) -> dict[str, float] | None:
        """Return the figures of held-out data, without dropout, label smoothing or class weights; None without targets.

        They are those of the task's own `evaluate` where it has them too and `eval_examples` takes all held-out data.
        """
        batches = self.held_out()
        if batches is None:
            return None
        found = self.measure(batches, workers)
        return {name: found[name] for name in self.figures} if found["count"] else None

    def measure(self, batches: Iterator[Batch], workers: Workers) -> dict[str, float]:
        """Return the loss and the accuracy per target, and the number of targets."""
        sums = np.zeros(4)
        while group := list(islice(batches, 8 * workers.num_workers)):  # a long text is never all in memory
            sums += np.sum(list(workers.map(self._measure, group)), axis=0)
        loss, targets, correct, count = sums.tolist()
        return {"loss": loss / (targets or 1), "accuracy": correct / (count or 1), "count": int(count)}

    def _measure(self, batch: Batch) -> tuple[float, int, int, int]:
        with inference(), np.errstate(over="ignore", invalid="ignore"):
            loss, correct = self.sums(*batch)
        targets = batch[-1]
        return loss.item(), self.num_targets(targets), int(correct), self.num_scored(targets)

    def sums(self, *batch: np.ndarray) -> tuple[Any, Any]:
        """Return of some sequences the summed loss [], and how many targets [] the model takes for the likeliest."""
        outputs, targets = self.scored(*batch)
        values = outputs.data if isinstance(outputs, Tensor) else outputs
        return self.chosen_loss(outputs, targets), self.num_correct(values, targets)


class ExamplesObjective(TargetObjective):
    """Examples of unequal length, in batches of similar lengths; a subclass pads them."""

    examples_are: str = "examples"

    def __init__(
        self,
        model: Module,
        tokenizer: AnyTokenizer,
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

    @property
    def fills(self) -> tuple[int, ...]:
        """What fills up the rows of the arrays of a batch, in their order: tokens, their mask and segments by default."""
        return pad_id(self.tokenizer), False, 0

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Pad examples into arrays, the targets last."""
        raise NotImplementedError

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
        number, most = len(self.valid or ()), self.train.eval_examples
        held_out = f"{number:,}" if number else "none"
        measured = f" (of which {most:,} are measured)" if number > most else ""
        return (
            f"{super().describe()}, {amount(len(self.examples), self.examples_are)} to train on "
            f"(an epoch is {amount(len(self.batches), 'steps')}), {held_out} held out{measured}"
        )


def places_counted(targets: Any) -> np.ndarray | None:
    """Return the places in targets, of any shape, that are not left out; None for an array that has no values yet.

    Such an array stands in a function that is being compiled, in which no shape may depend on values: there all places are
    computed, and the loss leaves out those that do not count.
    """
    return np.flatnonzero(targets != IGNORE) if kind_of(targets) == NUMPY else None


def spread(examples: Sequence[Any], most: int | None) -> Sequence[Any]:
    """Return at most so many examples, taken evenly from the whole; None takes all."""
    count = len(examples) if most is None else min(len(examples), most)
    return [examples[number * len(examples) // count] for number in range(count)]
