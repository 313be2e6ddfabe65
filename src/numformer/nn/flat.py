"""The weights of a layer in one piece of memory, and one product in place of several that read the same input.

For one new token a product takes as long as its matrix takes to be read. A large piece of memory is read faster, since the
system maps it in large pages, and one product with three matrices that lie side by side is faster than three products.
"""

from __future__ import annotations

import operator
from itertools import accumulate, pairwise
from typing import Any

from numformer import ops
from numformer._memory import large_zeros
from numformer.autograd import Tensor, kind_of, mode
from numformer.autograd.array import NUMPY, side_by_side
from numformer.nn import init
from numformer.nn.layers import Linear
from numformer.nn.module import Module

FEW_ROWS = 16  # of more rows the multiplications take the time, and not the reading of the matrices


def flatten_parameters(module: Module) -> None:
    """Move the float32 parameters of a module into one new array, matrices of one part and one input width side by side."""
    named = {name: p for name, p in module.named_parameters() if p.dtype == "float32"}
    parts = {part: number for number, part in reversed([*enumerate(map(_part_of, named))])}

    def place(name: str) -> tuple[bool, int, tuple[int, ...]]:
        weight = named.get(f"{name.rpartition('.')[0]}.weight", named[name])  # a bias lies as the weights do
        return named[name].ndim < 2, parts[_part_of(name)], weight.shape[1:]

    ordered = [named[name] for name in sorted(named, key=place)]
    borders = list(accumulate((p.size for p in ordered), initial=0))
    flat = large_zeros(borders[-1])
    for parameter, (start, stop) in zip(ordered, pairwise(borders), strict=True):
        view = flat[start:stop].reshape(parameter.shape)
        if init.is_drawing() or parameter.ndim < 2:  # undrawn matrices are zeros: their memory stays untouched
            view[...] = parameter.data
        parameter.data = view


class JointLinear:
    """One product for several linear maps of the same input, where their weights lie side by side in memory.

    It serves few rows inside `inference()`, while nobody looks at the single maps. Where the weights lie is found out anew
    when an array was replaced, and in every copy, whose weights lie elsewhere.
    """

    def __init__(self) -> None:
        self._arrays: list[Any] = []
        self._joined: tuple[Any, Any] | None = None
        self._cuts: list[slice] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return JointLinear, ()

    def __call__(self, x: Any, *maps: Linear) -> list[Any] | None:
        """Return what every map makes of x [... D], or None where one product cannot do it."""
        current = mode.current
        if current.recording or not current.evaluating or current.watcher is not None:
            return None
        x = x.data if isinstance(x, Tensor) else x
        if kind_of(x) != NUMPY or x.size > FEW_ROWS * x.shape[-1]:
            return None
        if any(type(each) is not Linear or "forward" in vars(each) for each in maps):
            return None
        arrays = [each.weight.data for each in maps]
        if not self._arrays or not all(map(operator.is_, arrays, self._arrays)):
            self._look_up(arrays, [each.bias.data for each in maps if each.bias is not None])
        if self._joined is None:
            return None
        y = ops.linear(x, *self._joined)
        return [y[..., cut] for cut in self._cuts]

    def _look_up(self, weights: list[Any], biases: list[Any]) -> None:
        borders = accumulate(map(len, weights), initial=0)
        self._arrays, self._cuts, self._joined = weights, [slice(*pair) for pair in pairwise(borders)], None
        weight, bias = side_by_side(weights), side_by_side(biases) if biases else None
        if weight is not None and (bias is None if not biases else bias is not None and len(bias) == len(weight)):
            self._joined = weight, bias


def _part_of(name: str) -> str:
    """Return the name of the module around the one that a parameter belongs to."""
    return ".".join(name.split(".")[:-2])
