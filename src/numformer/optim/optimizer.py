"""The base of every optimizer: parameters side by side in one flat array, updated in place, a cache-sized slice at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from numformer.autograd import Parameter
from numformer.errors import InputError
from numformer.shared import shared_zeros

SLICE = 1 << 16  # elements; five float32 slices (weight, gradient, two moments, scratch) fit a 2 MB cache


class Optimizer:
    """Moves parameters into one flat array (matrices first, since only they decay) and updates it by a subclass's rule.

    Parameters that do not require gradients at construction are left out; one whose gradient is None at a step is
    skipped. A parameter belongs to the optimizer made last.
    Raises InputError when nothing is trainable, or a setting is out of range.
    """

    slots: ClassVar[tuple[str, ...]] = ()  # the names of the running averages that the rule keeps

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float = 0.0) -> None:
        check_range("lr", lr, low=0.0)
        check_range("weight_decay", weight_decay, low=0.0)
        self.parameters = sorted((p for p in parameters if p.requires_grad), key=lambda p: p.ndim < 2)
        if not self.parameters:
            raise InputError("the optimizer got no parameter that requires gradients")
        self.lr, self.weight_decay, self.step_count = lr, weight_decay, 0
        self.borders = np.cumsum([0, *(p.size for p in self.parameters)]).tolist()
        self.weights = shared_zeros((self.borders[-1],), np.result_type(*(p.data for p in self.parameters)))
        self.num_decayed = sum(p.size for p in self.parameters if p.ndim >= 2)
        self.gradient = np.zeros_like(self.weights)
        self.state = {slot: np.zeros_like(self.weights) for slot in self.slots}
        self._views = [
            self.weights[start:stop].reshape(p.shape)
            for p, start, stop in zip(self.parameters, self.borders, self.borders[1:], strict=False)
        ]
        for parameter, view in zip(self.parameters, self._views, strict=True):
            view[...] = parameter.data
            parameter.data = view

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Update every parameter from its `.grad`."""
        self.gather([p.grad for p in self.parameters], out=self.gradient)
        self.update(present=[p.grad is not None for p in self.parameters])

    def gather(self, grads: Sequence[np.ndarray | None], out: np.ndarray, add: bool = False) -> None:
        """Lay gradients, in the order of `self.parameters`, into a flat array, or add them to it; None counts as zeros."""
        for grad, start, stop in zip(grads, self.borders, self.borders[1:], strict=False):
            flat = 0.0 if grad is None else grad.reshape(-1)
            if add:
                out[start:stop] += flat
            else:
                out[start:stop] = flat

    def update(self, present: Sequence[bool] | None = None) -> None:
        """Apply the rule once to the parameters that have a gradient in `self.gradient`; to all by default."""
        for parameter, view in zip(self.parameters, self._views, strict=True):
            if parameter.data is not view:  # somebody assigned a new array
                view[...] = parameter.data
                parameter.data = view
        self.step_count += 1
        for part in self._slices(present):
            self._update_slice(part)

    def rule(self, weights: np.ndarray, gradient: np.ndarray, decay: float, **state: np.ndarray) -> None:
        """Update one slice of weights and running averages in place; every subclass writes its own."""
        raise TypeError(f"{type(self).__name__} has no rule")

    def state_dict(self, copy: bool = True) -> dict[str, np.ndarray]:
        """Return the running averages (copies, or the arrays themselves) and the step count."""
        averages = {slot: value.copy() if copy else value for slot, value in self.state.items()}
        return {**averages, "step_count": np.array(self.step_count)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state_dict`; raises InputError when it belongs to another optimizer or model."""
        if set(state) != {*self.slots, "step_count"} or any(state[s].shape != self.weights.shape for s in self.slots):
            raise InputError(f"this optimizer state does not belong to {type(self).__name__} on this model")
        for slot in self.slots:
            self.state[slot][...] = state[slot]
        self.step_count = int(state["step_count"])

    def _update_slice(self, part: slice) -> None:
        decay = self.weight_decay if part.start < self.num_decayed else 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # the next loss will tell
            self.rule(self.weights[part], self.gradient[part], decay, **{k: v[part] for k, v in self.state.items()})

    def _slices(self, present: Sequence[bool] | None) -> list[slice]:
        """Cut the flat array where decay ends, around parameters without a gradient, and into cache-sized pieces."""
        included = [True] * len(self.parameters) if present is None else present
        slices: list[slice] = []
        start = 0
        for begin, stop, wanted in zip(self.borders, self.borders[1:], included, strict=False):
            if not wanted:
                slices += _cut(start, begin)
                start = stop
            elif stop in (self.num_decayed, self.borders[-1]):
                slices += _cut(start, stop)
                start = stop
        return slices


def _cut(start: int, stop: int) -> list[slice]:
    return [slice(at, min(at + SLICE, stop)) for at in range(start, stop, SLICE)]


def check_range(name: str, value: float, low: float, below: float = float("inf")) -> None:
    """Raise InputError unless low <= value < below."""
    if not low <= value < below:
        limit = "and finite" if below == float("inf") else f"and below {below:g}"
        raise InputError(f"{name} must be at least {low:g} {limit}, got {value}")
