"""One update: the batch cut into shards, each differentiated on its own core, gradients summed in shard order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from numformer import random
from numformer._memory import shared_zeros
from numformer.autograd import Tensor, gradients
from numformer.autograd.storage import Precision, storage
from numformer.errors import InputError
from numformer.nn import Module
from numformer.optim import Optimizer
from numformer.optim.clipping import clip_factor, global_norm
from numformer.tokenizers import Savable
from numformer.training.workers import Workers

Batch = tuple[np.ndarray, ...]


class Objective(Protocol):
    """What a step trains on: a batch, which it may cut between sequences, a summed loss, and what that is divided by."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step: arrays whose first axis is the sequences, the same whenever and wherever asked."""

    def loss_sum(self, *batch: np.ndarray) -> Tensor:
        """Return the loss summed over the real tokens of some sequences of a batch."""

    def num_tokens(self, *batch: np.ndarray) -> float:
        """Return the number of real tokens of some sequences, or the sum of their weights: what the loss is divided by."""


class MeasuredObjective(Objective, Protocol):
    """An Objective with its model, tokenizer and validation; `criterion` is the figure that says which is best."""

    model: Module
    tokenizer: Savable
    criterion: str
    unit: str  # What num_tokens counts, such as "tokens".

    @property
    def loss_unit(self) -> str:
        """What the loss is in, such as "nats per token"."""

    def evaluate(self, workers: Workers) -> dict[str, float] | None:
        """Return the validation figures, "loss" among them, measured in evaluation mode; None without held-out data."""

    def describe(self) -> str:
        """Return one line for people: the size of the model, and what it is trained on."""


class StepResult(NamedTuple):
    """The mean loss, the gradient's norm before clipping, and the number of tokens."""

    loss: float
    grad_norm: float
    num_tokens: float


class Step(Protocol):
    """What makes a training's updates: called with the number of each, the first of which is 1."""

    def __call__(self, step: int) -> StepResult:
        """Take one step; when the loss or the gradient is not a number, nothing is changed."""

    def evaluate(self, workers: Workers) -> dict[str, float] | None:
        """Return the figures of held-out data by the weights after the last step; None without held-out data."""

    def settle(self) -> None:
        """Bring the model and the optimizer up to date with the steps so far."""

    def any_host(self, flag: bool) -> bool:
        """Tell whether any of the hosts that train together says so; all ask after the same steps."""

    def introduction(self) -> str:
        """Return what there is to say before the first step, or nothing."""

    def summary(self) -> str:
        """Return what there is to say at the end, or nothing."""


class TrainStep:
    """Computes the gradient of a step's batch, clips it and updates the weights.

    The batch is cut into `shards`, which the workers share out, and each of them into `accumulation` pieces, which follow
    one another. The gradient is that of the loss averaged over all real tokens of the batch, however it is cut; it is
    summed in the order of the pieces within a shard and then of the shards, so no bit depends on the workers.
    """

    def __init__(
        self,
        objective: MeasuredObjective,
        optimizer: Optimizer,
        workers: Workers,
        *,
        seed: int,
        shards: int,
        accumulation: int = 1,
        clip_norm: float = 0.0,
        precision: Precision = "float32",
    ) -> None:
        self.objective, self.optimizer = objective, optimizer
        self.seed, self.shards, self.accumulation, self.clip_norm = seed, shards, accumulation, clip_norm
        self.precision: Precision = precision
        optimizer.take_unfrozen()
        self.trained = optimizer.trained
        self.gradients = shared_zeros((shards, optimizer.weights.size), optimizer.weights.dtype)
        workers.hold(optimizer.in_shared_memory())
        self.team = workers.team(self._differentiate, shards)

    def __call__(self, step: int) -> StepResult:
        """Take one step; when the loss or the gradient is not a number, nothing is changed.

        Raises InputError when parameters were frozen or unfrozen since this object was made.
        """
        check_frozen(self.optimizer, self.trained)
        self.optimizer.take_assigned()  # The other processes see the optimizer's weights only.
        answers = self.team.run(step)
        total = answers[0].num_tokens
        gradient = self.optimizer.gradient
        gradient[...] = self.gradients[0]
        with np.errstate(over="ignore", invalid="ignore"):  # The norm tells of it.
            for other in self.gradients[1:]:
                gradient += other
        norm, loss = global_norm(gradient), sum(answer.loss_sum for answer in answers) / total
        if np.isfinite(loss) and np.isfinite(norm):
            if self.clip_norm and norm > self.clip_norm:
                gradient *= clip_factor(norm, self.clip_norm)
            present = [any(each) for each in zip(*(answer.present for answer in answers), strict=True)]
            self.optimizer.update(present)
        return StepResult(loss, norm, total)

    def evaluate(self, workers: Workers) -> dict[str, float] | None:
        """Return what the objective measures itself."""
        return self.objective.evaluate(workers)

    def settle(self) -> None:
        """Do nothing: every step updates the model itself."""

    def any_host(self, flag: bool) -> bool:
        """Return what this host says, which is the only one."""
        return flag

    def introduction(self) -> str:
        """Return nothing."""
        return ""

    def summary(self) -> str:
        """Return nothing."""
        return ""

    def _differentiate(self, step: int, shard: int) -> _Answer:
        """Write the gradient of one shard into its row of `self.gradients`, and return its loss."""
        batch = self.objective.batch(step)
        total = self.objective.num_tokens(*batch) or 1
        pieces = list(_cut(batch, self.shards * self.accumulation))
        flat, loss_sum = self.gradients[shard], 0.0
        present = [False] * len(self.optimizer.parameters)
        for number in range(shard * self.accumulation, (shard + 1) * self.accumulation):
            grads: list[np.ndarray | None] = [None] * len(present)
            if len(pieces[number][0]):  # A batch of few long sequences may leave nothing for the last pieces.
                with np.errstate(over="ignore", invalid="ignore"):  # The loss tells of it.
                    with storage(self.precision), random.use(random.Stream(self.seed, step, number)):
                        loss = self.objective.loss_sum(*pieces[number])
                    grads = gradients(loss, self.optimizer.parameters, np.float32(1.0 / total))
                loss_sum += loss.item()
            self.optimizer.gather(grads, out=flat, add=number > shard * self.accumulation)
            present = [known or grad is not None for known, grad in zip(present, grads, strict=True)]
        return _Answer(loss_sum, total, present)


def check_frozen(optimizer: Optimizer, trained: list[bool]) -> None:
    """Raise InputError when other parameters are to be trained than when the step was made, which it knows nothing of."""
    if optimizer.trained != trained:
        raise InputError(
            "parameters were frozen or unfrozen during the training: do so between two calls of fit, the second of "
            "which may continue the run with resume"
        )


class _Answer(NamedTuple):
    """A shard's summed loss, the tokens of the whole batch, and which parameters its loss depends on."""

    loss_sum: float
    num_tokens: float
    present: list[bool]


def _cut(batch: Batch, pieces: int) -> Iterator[Batch]:
    return zip(*(np.array_split(array, pieces) for array in batch), strict=True)
