"""The base of every optimizer: parameters side by side in one flat array, updated in place, a cache-sized slice at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import ClassVar

import numpy as np

from numformer._shared import shared_zeros
from numformer.autograd import Parameter
from numformer.errors import InputError

SLICE = 1 << 16  # Five slices of so many float32 (weight, gradient, two moments, scratch) fit a 2 MB cache.


class Optimizer:
    """Moves parameters into one flat array (matrices first, since only they decay) and updates it by a subclass's rule.

    Parameters that do not require gradients at construction are left out; one whose gradient is None at a step is
    skipped, and `update_counts` says how often each was not. A parameter belongs to the optimizer made last.
    Raises InputError when nothing is trainable, or a setting is out of range.
    """

    slots: ClassVar[tuple[str, ...]] = ()  # The names of the running averages that the rule keeps.

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float = 0.0) -> None:
        check_range("lr", lr, low=0.0)
        check_range("weight_decay", weight_decay, low=0.0)
        self.parameters = sorted((p for p in parameters if p.requires_grad), key=lambda p: p.ndim < 2)
        if not self.parameters:
            raise InputError("the optimizer got no parameter that requires gradients")
        self.lr, self.weight_decay = lr, weight_decay
        self.update_counts = np.zeros(len(self.parameters), np.int64)
        self.borders = np.cumsum([0, *(p.size for p in self.parameters)]).tolist()
        self.weights = np.zeros(self.borders[-1], np.result_type(*(p.data for p in self.parameters)))
        self.num_decayed = sum(p.size for p in self.parameters if p.ndim >= 2)
        self.gradient = np.zeros_like(self.weights)
        self.state = {slot: np.zeros_like(self.weights) for slot in self.slots}
        self._views = self._views_of(self.weights)
        self._num_sharing = 0
        for parameter, view in zip(self.parameters, self._views, strict=True):
            view[...] = parameter.data
            parameter.data = view

    @contextmanager
    def in_shared_memory(self) -> Iterator[None]:
        """Keep the weights where processes forked meanwhile see every update, and in ordinary memory again after it.

        Such contexts may overlap. Outside them, a process forked from this one has weights of its own.
        """
        self._num_sharing += 1
        try:
            if self._num_sharing == 1:
                self._move_to(shared_zeros(self.weights.shape, self.weights.dtype))
            yield
        finally:
            self._num_sharing -= 1
            if self._num_sharing == 0:
                self._move_to(np.empty_like(self.weights))

    def zero_grad(self) -> None:
        """Set the `.grad` of every parameter to None."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Update every parameter that has a `.grad` by it; raises InputError as `update` does."""
        self.take_assigned()
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
        """Apply the rule once to the parameters that have a gradient in `self.gradient`; to all by default.

        Raises InputError, and changes nothing, when a parameter was given an array of another shape or dtype.
        """
        self.take_assigned()
        included = [True] * len(self.parameters) if present is None else list(present)
        self.update_counts += included
        for part, count in self._slices(included):
            self._update_slice(part, count)
        for parameter, changed in zip(self.parameters, included, strict=True):
            if changed:
                parameter.mark_changed()

    def set_weights(self, weights: np.ndarray) -> None:
        """Give all parameters new values from a flat array [N], such as a copy of `self.weights`."""
        self.weights[...] = weights
        for parameter in self.parameters:
            parameter.mark_changed()

    def take_assigned(self) -> None:
        """Copy arrays that somebody assigned to parameters into the flat array, where the next update starts.

        Raises InputError for one of another shape or dtype, as `model.astype` leaves behind.
        """
        assigned = [(p, view) for p, view in zip(self.parameters, self._views, strict=True) if p.data is not view]
        for parameter, view in assigned:
            if (parameter.shape, parameter.dtype) != (view.shape, view.dtype):
                raise InputError(
                    f"a parameter is {parameter.dtype} {list(parameter.shape)} now, but the optimizer was made for "
                    f"{view.dtype} {list(view.shape)}: make the optimizer after such a change"
                )
        for parameter, view in assigned:
            view[...] = parameter.data
            parameter.data = view

    def rule(self, weights: np.ndarray, gradient: np.ndarray, decay: float, count: int, **state: np.ndarray) -> None:
        """Update one slice of weights and running averages in place, for the `count`-th time; a subclass writes its own."""
        raise TypeError(f"{type(self).__name__} has no rule")

    def state_dict(self, copy: bool = True) -> dict[str, np.ndarray]:
        """Return the running averages [N] and the number of updates of each parameter [P], copies of them by default."""
        arrays = {**self.state, "update_counts": self.update_counts}
        return {name: array.copy() if copy else array for name, array in arrays.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state_dict`; raises InputError when it belongs to another optimizer, model or version."""
        own = self.state_dict(copy=False)
        if "step_count" in state:
            raise InputError(
                "this optimizer state is of an earlier version, which did not count the updates of each parameter: "
                "its run cannot be continued, but its model can be trained further"
            )
        if {name: array.shape for name, array in state.items()} != {name: array.shape for name, array in own.items()}:
            raise InputError(f"this optimizer state does not belong to {type(self).__name__} on this model")
        for name, array in own.items():
            array[...] = state[name]

    def _views_of(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return the piece of a flat array that belongs to each parameter, in its shape."""
        borders = zip(self.parameters, self.borders, self.borders[1:], strict=False)
        return [flat[start:stop].reshape(parameter.shape) for parameter, start, stop in borders]

    def _move_to(self, memory: np.ndarray) -> None:
        """Make another flat array the place of the weights."""
        memory[...] = self.weights
        before, self.weights, self._views = self._views, memory, self._views_of(memory)
        for parameter, old, new in zip(self.parameters, before, self._views, strict=True):
            if parameter.data is old:  # Otherwise it was assigned, or belongs to another optimizer.
                parameter.data = new

    def _update_slice(self, part: slice, count: int) -> None:
        decay = self.weight_decay if part.start < self.num_decayed else 0.0
        state = {slot: average[part] for slot, average in self.state.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # The next loss tells of it.
            self.rule(self.weights[part], self.gradient[part], decay, count, **state)

    def _slices(self, included: Sequence[bool]) -> Iterator[tuple[slice, int]]:
        """Cut the flat array into cache-sized pieces of parameters that are updated, all for the same time.

        A piece holds matrices, which decay, or other parameters.
        """
        counts = self.update_counts.tolist()
        alike = groupby(range(len(counts)), key=lambda i: (included[i], self.borders[i] < self.num_decayed, counts[i]))
        for (wanted, _, count), group in alike:
            numbers = list(group)
            if wanted:
                whole = _cut(self.borders[numbers[0]], self.borders[numbers[-1] + 1])
                yield from ((part, count) for part in whole)


def _cut(start: int, stop: int) -> list[slice]:
    return [slice(at, min(at + SLICE, stop)) for at in range(start, stop, SLICE)]


def check_range(name: str, value: float, low: float, below: float = float("inf")) -> None:
    """Raise InputError unless a value is a number and low <= value < below."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        raise InputError(f"{name} must be a number, got {value!r}")
    if not low <= value < below:
        limit = "and finite" if below == float("inf") else f"and below {below:g}"
        raise InputError(f"{name} must be at least {low:g} {limit}, got {value}")
