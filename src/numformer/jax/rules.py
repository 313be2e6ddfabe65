"""The update rules of `numformer.optim` as functions of one parameter, which JAX compiles; the tests hold both to be equal.

What changes from step to step (learning rates, how often a parameter was updated) is worked out by Python in float64 and
comes in as numbers, one of each kind per parameter, so that no step is compiled anew for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from numformer.errors import InputError
from numformer.optim import SGD, Adam, AdamW, Optimizer
from numformer.optim.groups import Group

Slots = dict[str, Any]  # the running averages of a parameter
Numbers = dict[str, Any]
Update = Callable[[Any, Any, Slots, Numbers, Group], tuple[Any, Slots]]


class Rule(NamedTuple):
    """An update of one parameter, and what gives its numbers: of (group, decay, how often it was updated)."""

    update: Update
    find_numbers: Callable[[Group, float, int], dict[str, float]]


def rule_of(optimizer: Optimizer) -> Rule:
    """Return the rule of an optimizer; raises InputError for one of another class, whose rule JAX does not know."""
    known = {Adam: Rule(_adam, _adam_numbers), AdamW: Rule(_adamw, _adam_numbers), SGD: Rule(_sgd, _sgd_numbers)}
    if type(optimizer) not in known:
        names = ", ".join(each.__name__ for each in known)
        raise InputError(f"JAX knows the rules of {names}, got an optimizer of the class {type(optimizer).__name__}")
    return known[type(optimizer)]


def numbers_of(optimizer: Optimizer, included: Sequence[bool]) -> dict[str, np.ndarray]:
    """Return the numbers [P] of the next update of every parameter in the flat array, by their names."""
    rule, counts = rule_of(optimizer), (optimizer.update_counts + included).tolist()
    rows = [
        rule.find_numbers(group, decay, max(1, count))
        for (group, decay), count in zip(optimizer.settings_of_each(), counts, strict=True)
    ]
    return {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}


def update_all(
    optimizer: Optimizer, weights: Sequence[Any], gradients: Sequence[Any], slots: Sequence[Slots], numbers: Numbers
) -> list[tuple[Any, Slots]]:
    """Return what becomes of every parameter and its running averages."""
    update = rule_of(optimizer).update
    groups = [group for group, _ in optimizer.settings_of_each()]
    own = [{name: values[number] for name, values in numbers.items()} for number in range(len(groups))]
    return list(map(update, weights, gradients, slots, own, groups))


def clipped(gradients: Sequence[Any], max_norm: float) -> tuple[list[Any], Any]:
    """Return gradients whose norm together is `max_norm` at most (0: any), and their norm before."""
    largest = jnp.stack([jnp.abs(each).max(initial=0.0) for each in gradients]).max()
    unit = jnp.where(largest > 0.0, largest, 1.0)  # so that no square is too large for float32
    norm = unit * jnp.sqrt(sum(jnp.square(each / unit).sum() for each in gradients))
    factor = jnp.minimum(1.0, max_norm / (norm + 1e-6)) if max_norm else 1.0
    return [each * factor for each in gradients], norm


def _adam_numbers(group: Group, decay: float, count: int) -> dict[str, float]:
    """Return the corrections for averages that began at zero, within the rates that they belong to."""
    lr, (beta1, beta2) = group["lr"], group["betas"]
    rate, scale = lr / (1.0 - beta1**count), 1.0 / math.sqrt(1.0 - beta2**count)
    return {"rate": rate, "scale": scale, "decay": decay, "shrink": 1.0 - lr * decay}


def _adam(weights: Any, gradient: Any, slots: Slots, numbers: Numbers, group: Group) -> tuple[Any, Slots]:
    return _by_averages(weights, gradient + numbers["decay"] * weights, slots, numbers, group)


def _adamw(weights: Any, gradient: Any, slots: Slots, numbers: Numbers, group: Group) -> tuple[Any, Slots]:
    return _by_averages(weights * numbers["shrink"], gradient, slots, numbers, group)


def _by_averages(weights: Any, gradient: Any, slots: Slots, numbers: Numbers, group: Group) -> tuple[Any, Slots]:
    """m = β1 m + (1-β1) g, v = β2 v + (1-β2) g², w -= rate · m / (scale √v + eps)."""
    beta1, beta2 = group["betas"]
    mean = slots["mean"] * beta1 + gradient * (1.0 - beta1)
    square = slots["square"] * beta2 + jnp.square(gradient) * (1.0 - beta2)
    step = mean / (jnp.sqrt(square) * numbers["scale"] + group["eps"]) * numbers["rate"]
    return weights - step, {"mean": mean, "square": square}


def _sgd_numbers(group: Group, decay: float, count: int) -> dict[str, float]:
    return {"rate": group["lr"], "decay": decay}


def _sgd(weights: Any, gradient: Any, slots: Slots, numbers: Numbers, group: Group) -> tuple[Any, Slots]:
    velocity = slots["velocity"] * group["momentum"] + gradient + numbers["decay"] * weights
    return weights - numbers["rate"] * velocity, {"velocity": velocity}
