"""One update: the batch cut into shards, each differentiated on its own thread, gradients summed in shard order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from numformer import random
from numformer.optim import Optimizer, clip_factor, global_norm
from numformer.tape import gradients
from numformer.tensor import Tensor
from numformer.training.workers import Workers

Batch = tuple[np.ndarray, ...]


class Objective(Protocol):
    """What a task trains on: arrays whose first axis is the sequences, a summed loss, and what it is divided by."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, the same one whenever asked."""

    def loss_sum(self, *batch: np.ndarray) -> Tensor:
        """Return the loss summed over the real tokens of some sequences of a batch."""

    def num_tokens(self, *batch: np.ndarray) -> int:
        """Count the real tokens."""


class StepResult(NamedTuple):
    """The mean loss, the gradient's norm before clipping, and the number of tokens."""

    loss: float
    grad_norm: float
    num_tokens: int


def train_step(
    objective: Objective, optimizer: Optimizer, workers: Workers, *, seed: int, step: int, pieces: int, clip_norm: float
) -> StepResult:
    """Compute the gradient of one batch, clip it and update the weights.

    The gradient is that of the loss averaged over all real tokens of the batch, however it is cut into `pieces`.
    """
    batch = objective.batch(step)
    total = max(1, objective.num_tokens(*batch))

    def differentiate(number: int, piece: Batch) -> tuple[float, np.ndarray, list[bool]]:
        flat = np.empty_like(optimizer.weights)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller hears of it through the loss
            with random.use(random.Stream(seed, step, number)):
                loss = objective.loss_sum(*piece)
            grads = gradients(loss, optimizer.parameters, np.float32(1.0 / total))
        optimizer.gather(grads, out=flat)
        return loss.item(), flat, [grad is not None for grad in grads]

    loss_sum, present = 0.0, [False] * len(optimizer.parameters)
    optimizer.gradient[...] = 0.0
    for piece_loss, piece_gradient, piece_present in workers.map(differentiate, range(pieces), _cut(batch, pieces)):
        loss_sum += piece_loss
        optimizer.gradient += piece_gradient
        present = [a or b for a, b in zip(present, piece_present, strict=True)]
    norm = global_norm(optimizer.gradient)
    loss = loss_sum / total
    if np.isfinite(loss) and np.isfinite(norm):
        if clip_norm and norm > clip_norm:
            optimizer.gradient *= clip_factor(norm, clip_norm)
        optimizer.update(present, run=workers.map)
    return StepResult(loss, norm, total)


def _cut(batch: Batch, pieces: int) -> Iterator[Batch]:
    return zip(*(np.array_split(array, pieces) for array in batch), strict=True)
