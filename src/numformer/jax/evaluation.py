"""Held-out data measured where JAX computes: an objective's own `evaluate`, whose model and sums are compiled functions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from numformer.autograd import inference
from numformer.jax.batches import padded
from numformer.jax.sharding import Placement
from numformer.training.workers import Workers


class Evaluation:
    """Measures what an objective holds out, by weights that lie on the devices of a training.

    Batches are padded as those of training are, since every shape is compiled; all hosts measure the same ones.
    """

    def __init__(self, objective: Any, placement: Placement) -> None:
        self.objective, self.placement = objective, placement
        self.shapes: set[tuple[Any, ...]] = set()
        self._sums, self._outputs = jax.jit(self._trace_sums), jax.jit(self._trace_outputs)

    def __call__(self, named: dict[str, Any]) -> dict[str, float] | None:
        """Return the figures of held-out data by parameters and buffers of these names; None without such data."""
        objective = copy.copy(self.objective)
        objective.model = _CompiledModel(self, named)
        objective.sums = lambda *batch: self._sums(named, self._padded(batch))
        return objective.evaluate(Workers(1))

    def outputs(self, named: dict[str, Any], inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return the outputs [B T ...] of the model for inputs [B T ...]."""
        rows, length = inputs[0].shape[:2]
        no_targets = np.zeros(rows, np.float32)
        found = self._outputs(named, self._padded((*inputs, no_targets))[:-1])
        return self.placement.fetch(found)[:rows, :length]

    def _padded(self, batch: tuple[np.ndarray, ...]) -> Any:
        fills, longest = getattr(self.objective, "fills", ()), self.objective.model.config.max_seq_len
        filled = padded(batch, fills, longest=longest, multiple=self.placement.batch_parts)
        self.shapes.add(tuple((array.shape, array.dtype) for array in filled))
        return self.placement.put_batch(filled, 1)

    # What follows is traced.
    def _trace_sums(self, named: Mapping[str, Any], batch: Any) -> Any:
        """Return what `sums` of the objective does."""
        objective = copy.copy(self.objective)
        objective.model = self._bound(named)
        with inference():
            return objective.sums(*batch)

    def _trace_outputs(self, named: Mapping[str, Any], inputs: Any) -> Any:
        with inference():
            return self._bound(named)(*inputs)

    def _bound(self, named: Mapping[str, Any]) -> Any:
        return self.objective.model.bind({name: self.placement.gather(name, array) for name, array in named.items()})


class _CompiledModel:
    """Stands for a model with other weights: what is read of it is the model's own, and its calls are compiled."""

    def __init__(self, evaluation: Evaluation, named: dict[str, Any]) -> None:
        self._evaluation, self._named = evaluation, named

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evaluation.objective.model, name)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the outputs for inputs as an array of NumPy."""
        return self._evaluation.outputs(self._named, inputs)
