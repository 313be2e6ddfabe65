"""A training's steps under JAX: loss, gradient, clipping and update in one compiled function.

The weights and the optimizer's averages stay where JAX computes, and give their memory to those of the next step. The
model and the optimizer of NumPy, which evaluations, checkpoints and people look at, get them back when they are asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.interpreters.partial_eval import dce_jaxpr

from numformer._notices import amount
from numformer.errors import InputError
from numformer.hosts.process import reached
from numformer.jax.batches import padded, stacked
from numformer.jax.evaluation import Evaluation
from numformer.jax.hosts import check_agreement as check_agreement
from numformer.jax.keys import keyed
from numformer.jax.recompute import keeping_barriers
from numformer.jax.rules import clipped, numbers_of, update_all
from numformer.jax.sharding import Placement
from numformer.optim import Optimizer
from numformer.training import OptimConfig, TrainConfig
from numformer.training.step import Step, StepResult, check_frozen
from numformer.training.workers import Workers


def step_maker(objective: Any, train: TrainConfig, optim: OptimConfig) -> Callable[[Optimizer, Workers], Step]:
    """Return the function that makes what takes a training's steps.

    Raises InputError for a mesh that does not fit devices, batch or model, for weights that are not float32, and for a
    loss of one's own, whose shapes may depend on values.
    """
    if getattr(objective, "own_loss", None) is not None:
        raise InputError("a loss of one's own is computed by NumPy alone: leave out backend='jax' or loss")
    placement = Placement(train.mesh)
    placement.check_batch(train.max_sequences, train.accumulation)
    for name, parameter in objective.model.named_parameters():
        placement.of_parameter(name, parameter.shape)
        if parameter.dtype != np.float32:
            raise InputError(f"the backend jax trains weights of float32, got {name} of {parameter.dtype}")
    return lambda optimizer, workers: CompiledStep(objective, optimizer, placement, train, optim)


def is_writer() -> bool:
    """Tell whether this process writes the run folder: of several hosts the first one does."""
    return jax.process_index() == 0


class CompiledStep:
    """Makes the updates that `numformer.training.step.TrainStep` makes, but for rounding and the numbers of dropout."""

    def __init__(
        self, objective: Any, optimizer: Optimizer, placement: Placement, train: TrainConfig, optim: OptimConfig
    ) -> None:
        optimizer.take_unfrozen()
        self.placement = placement
        self.objective, self.optimizer, self.train, self.optim = objective, optimizer, train, optim
        self.trained = optimizer.trained
        self.all = list(objective.model.parameters())  # those that are frozen, too
        named = {id(parameter): name for name, parameter in objective.model.named_parameters()}
        self.names = [named[id(parameter)] for parameter in optimizer.parameters]
        self.key = jax.random.fold_in(jax.random.key(train.seed & 0xFFFFFFFF), train.seed >> 32)
        self.shapes: set[tuple[Any, ...]] = set()  # of the batches that there were, each of which is compiled
        self.evaluation = Evaluation(objective, placement)
        self.present: list[bool] | None = None  # which parameters the loss depends on; known from the first batch
        self._next: tuple[int, Any, float] | None = None
        self.state: Any = None  # weights and averages, where JAX computes
        self.fixed: dict[str, Any] = {}  # what the model has besides: frozen parameters and buffers
        self.known: list[tuple[int, int]] = []  # the versions when state and model were last the same
        self.is_settled = True
        self._take()
        shardings = jax.tree.map(lambda array: array.sharding, self.state)
        self._compiled = jax.jit(
            self._step, donate_argnums=0, out_shardings=(shardings, None, None), compiler_options=keeping_barriers()
        )

    def __call__(self, step: int) -> StepResult:
        """Take one step; when the loss or the gradient is not a number, nothing is changed.

        The batch of the next step is made while the device computes. Raises InputError when parameters were frozen or
        unfrozen since this object was made.
        """
        check_frozen(self.optimizer, self.trained)
        if self._versions() != self.known:  # somebody gave the model other weights
            self._take()
        batch, total = self._batch(step)
        if self.present is None:
            self.present = self._find_present(batch)
        self.shapes.add(tuple((array.shape, array.dtype) for array in batch))
        numbers = numbers_of(self.optimizer, self.present)
        self.state, loss_sum, norm = self._compiled(
            self.state, self.fixed, batch, np.float32(total), np.uint32(step), numbers
        )
        self.is_settled = False
        if step < self.train.steps:
            self._next = (step + 1, *self._make_batch(step + 1))
        result = StepResult(float(loss_sum) / total, float(norm), total)
        if np.isfinite(result.loss) and np.isfinite(result.grad_norm):
            self.optimizer.update_counts += self.present
            reached(step)
        else:
            self.settle()  # The training ends, and what it leaves are the weights before this step.
        return result

    def evaluate(self, workers: Workers) -> dict[str, float] | None:
        """Return the figures of held-out data, in float32 and on the devices that train."""
        return self.evaluation(self._named(self.state[0], self.fixed))

    def settle(self) -> None:
        """Copy weights and averages to the model and the optimizer of NumPy."""
        if self.is_settled:
            return
        weights, slots = self.state
        for slot, flat in self.optimizer.state.items():
            self.optimizer.gather([self.placement.fetch(each[slot]) for each in slots], out=flat)
        self.optimizer.gather([self.placement.fetch(each) for each in weights], out=self.optimizer.weights)
        for parameter in self.optimizer.parameters:
            parameter.mark_changed()
        self.known, self.is_settled = self._versions(), True

    def any_host(self, flag: bool) -> bool:
        """Tell whether a host says so: one that is asked to stop takes the others with it, after the same step."""
        return flag if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.array(flag)).any())

    def introduction(self) -> str:
        """Say where the steps run, and why the first one is long in coming."""
        return f"JAX on {self.placement}: a step is compiled first for every shape of a batch, which can take long"

    def summary(self) -> str:
        """Say how often the step was compiled."""
        measured = len(self.evaluation.shapes)
        evaluations = f", and evaluations for {measured:,}" if measured else ""
        return f"JAX compiled steps for {amount(len(self.shapes), 'shapes')} of batches{evaluations}"

    def _take(self) -> None:
        """Copy weights and averages from NumPy to where JAX computes."""
        self.optimizer.take_assigned()
        averages = {slot: self.optimizer.cut(flat) for slot, flat in self.optimizer.state.items()}
        put = self.placement.put_parameter
        weights = [put(name, p.data) for name, p in zip(self.names, self.optimizer.parameters, strict=True)]
        slots = [
            {slot: put(name, each[number]) for slot, each in averages.items()} for number, name in enumerate(self.names)
        ]
        self.state = weights, slots
        model = self.objective.model
        self.fixed = {
            name: put(name, tensor.data)
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if name not in self.names
        }
        self.known, self.is_settled = self._versions(), True

    def _named(self, weights: Any, fixed: dict[str, Any]) -> dict[str, Any]:
        """Return all parameters and buffers by their names."""
        return fixed | dict(zip(self.names, weights, strict=True))

    def _versions(self) -> list[tuple[int, int]]:
        """Return how often each parameter was changed by whoever says so, and which array it has."""
        return [(parameter.version, id(parameter.data)) for parameter in self.all]

    def _batch(self, step: int) -> tuple[tuple[np.ndarray, ...], float]:
        """Return the batch of a step and the number of its real tokens, made ahead where steps follow one another."""
        ahead, self._next = self._next, None
        return ahead[1:] if ahead is not None and ahead[0] == step else self._make_batch(step)

    def _make_batch(self, step: int) -> Any:
        batch = self.objective.batch(step)
        total = self.objective.num_tokens(*batch) or 1
        longest = getattr(self.objective.model.config, "max_seq_len", None)
        fills = getattr(self.objective, "fills", ())
        count = self.train.accumulation
        most, multiple = self.train.max_sequences, count * self.placement.batch_parts
        batch = padded(batch, fills, longest=longest, most=most, multiple=multiple)
        return self.placement.put_batch(stacked(batch, count), count), total

    def _find_present(self, batch: Any) -> list[bool]:
        """Tell which parameters the loss reads at all: the others are not updated, so that they do not decay either."""
        weights, _ = self.state
        piece = batch if self.train.accumulation == 1 else [array[0] for array in batch]
        traced = jax.make_jaxpr(self._loss_sum)(weights, self.fixed, piece, self.key).jaxpr
        return dce_jaxpr(traced, [True])[1][: len(weights)]

    # What follows is traced.
    def _step(self, state: Any, fixed: Any, batch: Any, total: Any, step: Any, numbers: Any) -> Any:
        """Return weights and averages after a step, the summed loss and the gradient's norm."""
        weights, slots = state
        loss_sum, gradients = self._differentiate(weights, fixed, batch, jax.random.fold_in(self.key, step))
        gradients, norm = clipped([each / total for each in gradients], self.optim.clip_norm)
        updated = update_all(self.optimizer, weights, gradients, slots, numbers)
        is_finite = jnp.isfinite(loss_sum) & jnp.isfinite(norm)
        assert self.present is not None
        after = [
            jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), pair, (weight, averages))
            if wanted
            else (weight, averages)
            for wanted, pair, weight, averages in zip(self.present, updated, weights, slots, strict=True)
        ]
        return ([weight for weight, _ in after], [averages for _, averages in after]), loss_sum, norm

    def _differentiate(self, weights: Any, fixed: Any, batch: Any, key: Any) -> Any:
        """Return the summed loss of a batch and its gradient, added up piece by piece where that saves memory."""
        differentiated = jax.value_and_grad(self._loss_sum)
        count = self.train.accumulation
        if count == 1:
            return differentiated(weights, fixed, batch, key)

        def add(sums: Any, piece: Any) -> Any:
            number, arrays = piece
            found = differentiated(weights, fixed, arrays, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, sums, found), None

        nothing = jnp.zeros(()), [jnp.zeros_like(weight) for weight in weights]
        return jax.lax.scan(add, nothing, (jnp.arange(count), batch))[0]

    def _loss_sum(self, weights: Any, fixed: Any, batch: Any, key: Any) -> Any:
        """Return the summed loss of the model with these weights."""
        named = self._named(weights, fixed)
        if self.train.precision == "bfloat16":
            named = {name: _halved(array) for name, array in named.items()}
        objective = copy.copy(self.objective)
        with keyed(key), self.placement.gathered(named) as given:
            objective.model = self.objective.model.bind(given)
            return objective.loss_sum(*batch)


def _halved(array: Any) -> Any:
    """Return an array of numbers with fractions as bfloat16, others as they are."""
    return array.astype(jnp.bfloat16) if jnp.issubdtype(array.dtype, jnp.floating) else array
