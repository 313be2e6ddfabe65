"""Checks for anyone who writes an op, a layer or a model: gradients against differences, inputs drawn from shape lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from numformer.autograd import Tensor, gradients
from numformer.autograd.shapes import Argument, ShapeLine
from numformer.errors import InputError

SIZES = {"B": 3, "T": 5, "S": 7, "D": 8, "H": 4, "G": 2, "K": 6, "F": 10, "V": 11, "N": 9, "C": 13}


def check_gradients(
    function: Callable[..., Any],
    *inputs: Any,
    parameters: Iterable[Tensor] = (),
    seed: int = 0,
    tolerance: float = 1e-6,
    epsilon: float = 1e-5,
) -> None:
    """Compare the gradients of `function(*inputs)` with central differences in float64, one random direction a tensor.

    Floating-point inputs are differentiated, as are the `parameters` that the function reads; integers, masks and other
    values are passed on. The function may return a Tensor or several. A wrong gradient is seen by one random direction
    except with probability 0, provided weights and inputs are of order 1.
    Raises AssertionError naming the first tensor whose relative error exceeds `tolerance`, and InputError when a
    parameter is not float64, or there is nothing to differentiate.
    """
    rng = np.random.default_rng(seed)
    parameters = list(parameters)
    for parameter in parameters:
        if parameter.dtype != np.float64:
            raise InputError(
                f"check_gradients needs float64 parameters, got {parameter.dtype}: call model.astype first"
            )
    arguments = [_as_leaf(value) for value in inputs]
    leaves = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    names = [f"input {i}" for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.requires_grad]
    wanted = [*leaves, *(p for p in parameters if p.requires_grad)]
    names += [f"parameter {i} of shape {p.shape}" for i, p in enumerate(parameters) if p.requires_grad]
    if not wanted:
        raise InputError(
            "check_gradients needs a floating-point input, or a parameter that requires gradients; got none"
        )
    weights: list[np.ndarray] = []

    def weighted_sum() -> Tensor:
        results = function(*arguments)
        results = [r for r in (results if isinstance(results, tuple) else (results,)) if isinstance(r, Tensor)]
        if not weights:
            weights.extend(rng.standard_normal(r.shape) for r in results)
        total = (results[0] * weights[0]).sum()
        for result, weight in zip(results[1:], weights[1:], strict=True):
            total = total + (result * weight).sum()
        return total

    derivatives = gradients(weighted_sum(), wanted)
    for name, leaf, grad in zip(names, wanted, derivatives, strict=True):
        direction = rng.standard_normal(leaf.shape)
        analytic = 0.0 if grad is None else float(np.vdot(grad, direction))
        original = leaf.data.copy()
        values = []
        try:
            for sign in (1.0, -1.0):
                leaf.data[...] = original + sign * epsilon * direction
                values.append(weighted_sum().item())
        finally:
            leaf.data[...] = original
        numeric = (values[0] - values[1]) / (2.0 * epsilon)
        error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), 1e-3)
        if not error <= tolerance:
            raise AssertionError(
                f"the gradient of {name} is off by {error:.2g}: derived {analytic:.8g}, by differences {numeric:.8g}"
            )


def draw_arguments(line: ShapeLine, rng: np.random.Generator, dtype: Any = np.float64) -> list[np.ndarray]:
    """Draw arrays that fit a shape line; every axis letter gets another length, and floats keep away from 0."""
    return [_draw(argument, rng, dtype) for argument in line.arguments]


def settings_of(line: ShapeLine) -> dict[str, Any]:
    """Return the example settings of a shape line."""
    settings: dict[str, Any] = eval(f"dict({line.settings})", {}, {"dict": dict, "slice": slice, **SIZES})
    return settings


def expected_shapes(line: ShapeLine) -> list[tuple[int, ...]]:
    """Return the result shapes that a shape line promises for the arrays of `draw_arguments`."""
    return [_lengths(axes) for axes in line.results]


def _as_leaf(value: Any) -> Any:
    array = value.data if isinstance(value, Tensor) else value
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        return Tensor(array.astype(np.float64), requires_grad=True)
    return value


def _lengths(axes: tuple[str, ...]) -> tuple[int, ...]:
    lead = (SIZES["B"], SIZES["T"]) if axes[:1] == ("...",) else ()
    return (*lead, *(int(eval(axis, {}, SIZES)) for axis in axes[len(lead) > 0 :]))


def _draw(argument: Argument, rng: np.random.Generator, dtype: Any) -> np.ndarray:
    shape = _lengths(argument.axes)
    if argument.boolean:
        return rng.random(shape) < 0.6
    if argument.below:
        return rng.integers(0, int(eval(argument.below, {}, SIZES)), shape)
    return (rng.uniform(0.3, 2.0, shape) * rng.choice([-1.0, 1.0], shape)).astype(dtype)
