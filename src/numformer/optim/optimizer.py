"""The base of every optimizer: parameters side by side in one flat array, updated in place, a cache-sized slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any, ClassVar, TypeAlias

import numpy as np

from numformer._absent import OF_OPTIMIZER, answers_for
from numformer._memory import shared_zeros
from numformer.autograd import Parameter
from numformer.errors import InputError
from numformer.optim.groups import Group, Parameters, Setting, as_dicts

SLICE = 1 << 16  # Five slices of so many float32 (weight, gradient, two moments, scratch) fit a 2 MB cache.


@answers_for(OF_OPTIMIZER)
class Optimizer:
    """Updates parameters by a subclass's rule, in groups with settings of their own where dicts are given.

    `param_groups` holds these: `for group in optimizer.param_groups: group["lr"] = ...`. The parameters that are trained
    lie in one flat array (group by group, matrices first, since only they decay). One that does not require gradients is
    skipped, and costs nothing until it is unfrozen for the first time; so is one whose gradient is None at a step.
    `update_counts` says how often each was not. A parameter belongs to the optimizer made last.
    Raises InputError when nothing is trainable, a parameter is given twice, or a setting is unknown or out of range.
    """

    slots: ClassVar[tuple[str, ...]] = ()  # The names of the running averages that the rule keeps.
    lr = Setting[float]()
    weight_decay = Setting[float]()

    def __init__(self, parameters: Parameters, **settings: Any) -> None:
        self.settings = settings
        self.param_groups: list[Group] = []
        self.state: dict[str, np.ndarray] = {}
        self._num_sharing = 0
        for group in as_dicts(parameters, settings):
            self._check(group := settings | group)
            self.param_groups.append(group)
        numbered = [(p, number) for number, group in enumerate(self.param_groups) for p in group["params"]]
        # All parameters with the numbers of their groups, in the order in which those that are trained lie.
        self._members = sorted(numbered, key=lambda member: (member[1], member[0].ndim < 2))
        self._lay_out(self.trained, known={})
        if not self.parameters:
            raise InputError("the optimizer got no parameter that requires gradients")

    def _check(self, settings: Group) -> None:
        """Raise InputError for a setting out of range; a subclass checks its own too."""
        for name in ("lr", "weight_decay"):
            check_range(name, settings[name], low=0.0)

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

    @property
    def trained(self) -> list[bool]:
        """Which of all parameters are trained now, group by group: those that require gradients."""
        return [p.requires_grad for p, _ in self._members]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the `.grad` of every parameter to None, of frozen ones too; raises InputError for `set_to_none=False`."""
        if not set_to_none:
            raise InputError("gradients are set to None here: leave out set_to_none=False")
        for parameter, _ in self._members:
            parameter.grad = None

    def step(self) -> None:
        """Update every parameter that has a `.grad` and is not frozen; raises InputError as `update` does."""
        self.take_unfrozen()
        grads = [p.grad if p.requires_grad else None for p in self.parameters]
        self.gather(grads, out=self.gradient)
        self.update(present=[grad is not None for grad in grads])

    def gather(self, grads: Sequence[np.ndarray | None], out: np.ndarray, add: bool = False) -> None:
        """Lay gradients, in the order of `self.parameters`, into a flat array, or add them to it; None counts as zeros."""
        for grad, part in zip(grads, _parts(self.borders), strict=True):
            flat = 0.0 if grad is None else grad.reshape(-1)
            if add:
                out[part] += flat
            else:
                out[part] = flat

    def update(self, present: Sequence[bool] | None = None) -> None:
        """Apply the rule once to the parameters that have a gradient in `self.gradient`; to all trained ones by default.

        Raises InputError, and changes nothing, when a parameter was given an array of another shape or dtype.
        """
        self.take_assigned()
        included = [p.requires_grad for p in self.parameters] if present is None else list(present)
        self.update_counts += included
        for part, group, decay, count in self._slices(included):
            state = {slot: average[part] for slot, average in self.state.items()}
            with np.errstate(over="ignore", invalid="ignore"):  # The next loss tells of it.
                self.rule(self.weights[part], self.gradient[part], group, decay, count, **state)
        for parameter, changed in zip(self.parameters, included, strict=True):
            if changed:
                parameter.mark_changed()

    def settings_of_each(self) -> list[tuple[Group, float]]:
        """Return the group of every parameter in the flat array, and its decay, which is 0 for norms and biases."""
        groups = [self.param_groups[number] for number in self._numbers]
        decays = [
            group["weight_decay"] if p.ndim >= 2 else 0.0 for p, group in zip(self.parameters, groups, strict=True)
        ]
        return list(zip(groups, decays, strict=True))

    def cut(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return the piece of a flat array [N] that belongs to each parameter, in its shape, without copying."""
        parts = _parts(self.borders)
        return [flat[part].reshape(p.shape) for p, part in zip(self.parameters, parts, strict=True)]

    def set_weights(self, weights: np.ndarray) -> None:
        """Give all parameters new values from a flat array [N], such as a copy of `self.weights`."""
        self.weights[...] = weights
        for parameter in self.parameters:
            parameter.mark_changed()

    def take_unfrozen(self) -> None:
        """Take what was assigned, and parameters that were unfrozen for the first time, into the flat array.

        Raises InputError as `take_assigned` does.
        """
        self.take_assigned()
        if any(p.requires_grad for p in self._waiting):
            wanted = [known or now for known, now in zip(self._held(), self.trained, strict=True)]
            self._lay_out(wanted, _by_parameter(self.parameters, self.update_counts, self.state))

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

    def rule(
        self, weights: np.ndarray, gradient: np.ndarray, group: Group, decay: float, count: int, **state: np.ndarray
    ) -> None:
        """Update one slice of weights and running averages in place, for the `count`-th time; a subclass writes its own.

        `group` holds the settings; `decay` is its weight_decay, or 0 where the slice does not decay.
        """
        raise TypeError(f"{type(self).__name__} has no rule")

    def state_dict(self, copy: bool = True) -> dict[str, np.ndarray]:
        """Return all that an optimizer of the same parameters needs to go on, as arrays: copies of them by default.

        They are the running averages [N] and the numbers of updates [P] of the parameters in the flat array, which of all
        parameters these are, the group of each, and the settings of the groups.
        """
        arrays = {**self.state, "update_counts": self.update_counts} | self._description()
        return {name: array.copy() if copy else array for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a `state_dict`; raises InputError when it belongs to another optimizer, model or version."""
        if "step_count" in state:
            raise InputError(
                "this optimizer state is of an earlier version, which did not count the updates of each parameter: "
                "its run cannot be continued, but its model can be trained further"
            )
        own = self._description()
        if "held" not in state:  # It is of the version before groups, whose optimizers had none but trained parameters.
            state = {**own, **state}
        held = state["held"].tolist()
        lengths = [p.size for (p, _), known in zip(self._members, held, strict=False) if known]
        shapes = {slot: (sum(lengths),) for slot in self.slots} | {"update_counts": (len(lengths),)}
        shapes |= {name: array.shape for name, array in own.items()}
        fits = {name: array.shape for name, array in state.items()} == shapes
        if not fits or not np.array_equal(state["group"], own["group"]):
            raise InputError(f"this optimizer state does not belong to {type(self).__name__} on this model")
        loaded = [p for (p, _), known in zip(self._members, held, strict=True) if known]
        wanted = [known or new for known, new in zip(self._held(), held, strict=True)]
        self._lay_out(wanted, _by_parameter(loaded, state["update_counts"], {slot: state[slot] for slot in self.slots}))
        for name in self.settings:
            for group, value in zip(self.param_groups, state[f"groups.{name}"].tolist(), strict=True):
                group[name] = tuple(value) if isinstance(value, list) else value

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what can be made again where the optimizer is copied or sent to another process."""
        made = ("weights", "gradient", "_views")
        return {name: value for name, value in vars(self).items() if name not in made} | {"_num_sharing": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.state = {
            slot: average.copy() for slot, average in self.state.items()
        }  # joblib's large arrays are read-only
        self._place_weights()

    def _held(self) -> list[bool]:
        """Tell of all parameters which are in the flat array."""
        held = {id(p) for p in self.parameters}
        return [id(p) in held for p, _ in self._members]

    def _description(self) -> dict[str, np.ndarray]:
        """Return as arrays which parameters are in the flat array, which groups there are, and their settings."""
        return {
            "held": np.array(self._held()),
            "group": np.array([number for _, number in self._members]),
            **{f"groups.{name}": np.array([g[name] for g in self.param_groups], np.float64) for name in self.settings},
        }

    def _lay_out(self, held: Sequence[bool], known: Mapping[int, _Kept]) -> None:
        """Make the flat arrays anew for the parameters that are held; what is known of one stays with it."""
        members = [member for member, is_held in zip(self._members, held, strict=True) if is_held]
        self.parameters = [p for p, _ in members]
        self._numbers = [number for _, number in members]
        self._waiting = [p for (p, _), is_held in zip(self._members, held, strict=True) if not is_held]
        self.borders = _borders(self.parameters)
        self._place_weights()
        self.state = {slot: np.zeros_like(self.weights) for slot in self.slots}
        self.update_counts = np.zeros(len(members), np.int64)
        for number, (parameter, part) in enumerate(zip(self.parameters, _parts(self.borders), strict=True)):
            if id(parameter) in known:
                self.update_counts[number], averages = known[id(parameter)]
                for slot, average in averages.items():
                    self.state[slot][part] = average

    def _place_weights(self) -> None:
        """Move the parameters into a new flat array, beside which the one of their gradients lies."""
        dtype = np.result_type(np.float16, *(p.data for p in self.parameters))
        make = shared_zeros if self._num_sharing else np.zeros
        self.weights = make((self.borders[-1],), dtype)
        self.gradient = np.zeros_like(self.weights)
        self._views = self.cut(self.weights)
        for parameter, view in zip(self.parameters, self._views, strict=True):
            view[...] = parameter.data
            parameter.data = view

    def _move_to(self, memory: np.ndarray) -> None:
        """Make another flat array the place of the weights."""
        memory[...] = self.weights
        before, self.weights, self._views = self._views, memory, self.cut(memory)
        for parameter, old, new in zip(self.parameters, before, self._views, strict=True):
            if parameter.data is old:  # Otherwise it was assigned, or belongs to another optimizer.
                parameter.data = new

    def _slices(self, included: Sequence[bool]) -> Iterator[tuple[slice, Group, float, int]]:
        """Cut the flat array into cache-sized pieces of parameters that are updated alike, all for the same time.

        Yields their group, their decay and how often they were updated with each.
        """
        counts, decays = self.update_counts.tolist(), [p.ndim >= 2 for p in self.parameters]
        keys = list(zip(included, self._numbers, decays, counts, strict=True))
        for (wanted, number, decays_too, count), alike in groupby(range(len(keys)), key=keys.__getitem__):
            numbers = list(alike)
            group = self.param_groups[number]
            decay = group["weight_decay"] if decays_too else 0.0
            for part in _cut(self.borders[numbers[0]], self.borders[numbers[-1] + 1]) if wanted else ():
                yield part, group, decay, count


_Kept: TypeAlias = tuple[int, dict[str, np.ndarray]]  # How often a parameter was updated, and its running averages.


def _by_parameter(
    parameters: Sequence[Parameter], counts: np.ndarray, averages: Mapping[str, np.ndarray]
) -> dict[int, _Kept]:
    """Cut what is known of parameters that lie one after the other into what is known of each, by its id."""
    return {
        id(p): (count, {slot: average[part] for slot, average in averages.items()})
        for p, part, count in zip(parameters, _parts(_borders(parameters)), counts.tolist(), strict=True)
    }


def _borders(parameters: Sequence[Parameter]) -> list[int]:
    """Return where each parameter begins that lies after those before it in a flat array, and where the last one ends."""
    borders: list[int] = np.cumsum([0, *(p.size for p in parameters)]).tolist()
    return borders


def _parts(borders: Sequence[int]) -> list[slice]:
    return [slice(start, stop) for start, stop in pairwise(borders)]


def _cut(start: int, stop: int) -> list[slice]:
    return [slice(at, min(at + SLICE, stop)) for at in range(start, stop, SLICE)]


def check_range(name: str, value: float, low: float, below: float = float("inf")) -> None:
    """Raise InputError unless a value is a number and low <= value < below."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        raise InputError(f"{name} must be a number, got {value!r}")
    if not low <= value < below:
        limit = "and finite" if below == float("inf") else f"and below {below:g}"
        raise InputError(f"{name} must be at least {low:g} {limit}, got {value}")
