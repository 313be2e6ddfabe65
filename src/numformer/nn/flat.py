"""The weights of a layer in one piece of memory, and one product in place of several that read the same input.

For one new token a product takes as long as its matrix takes to be read. A large piece of memory is read faster, since the
system maps it in large pages, and one product with three matrices that lie side by side is faster than three products.
"""

from __future__ import annotations

import operator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from numformer import ops
from numformer._memory import large_zeros
from numformer.autograd import Parameter, Tensor, kind_of, mode
from numformer.autograd.array import NUMPY, side_by_side
from numformer.nn import init
from numformer.nn.layers import Linear
from numformer.nn.module import Module

FEW_ROWS = 16  # of more rows the multiplications take the time, and not the reading of the matrices


def flatten_parameters(module: Module) -> None:
    """Move the float32 parameters of a module into one new array, matrices of one part and one input width side by side."""
    if not init.is_allocating():
        return
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
        if not init.is_undrawn(parameter):  # the zeros of others are there already, in memory that stays untouched
            view[...] = parameter.data
        parameter.data = view


class _Found(NamedTuple):
    """For the arrays of some maps: weight and bias of one product in their place, None without, and each map's part of it."""

    arrays: list[Any]
    joined: tuple[Any, Any] | None
    cuts: list[slice]


class JointLinear:
    """One product for several linear maps of the same input, where their weights lie side by side in memory.

    It serves few rows inside `inference()`, while nobody looks at the single maps. Where the weights lie is found out anew
    when an array was replaced, and in every copy, whose weights lie elsewhere; while a graph is recorded, as in training,
    which may move them, nothing is kept of it.
    """

    def __init__(self) -> None:
        self._found: _Found | None = None  # read once in a call: other threads may use the maps, or a bound copy, too

    def __reduce__(self) -> tuple[Any, ...]:
        return JointLinear, ()

    def __call__(self, x: Any, *maps: Linear) -> list[Any] | None:
        """Return what every map makes of x [... D], or None where one product cannot do it."""
        current = mode.current
        if current.recording:
            self._found = None  # it would keep the memory of arrays that are replaced
            return None
        if not current.evaluating or current.watcher is not None:
            return None
        x = x.data if isinstance(x, Tensor) else x
        if kind_of(x) != NUMPY or x.size > FEW_ROWS * x.shape[-1]:
            return None
        if any(type(each) is not Linear or "forward" in vars(each) for each in maps):
            return None
        weights, biases = [each.weight for each in maps], [each.bias for each in maps]
        if not all(p is None or type(p) is Parameter for p in (*weights, *biases)):  # arrays that a copy is bound to
            return None
        arrays = [p if p is None else p.data for p in (*weights, *biases)]
        found = self._found
        if found is None or not all(map(operator.is_, arrays, found.arrays)):
            found = self._found = _look_up(arrays)
        if found.joined is None:
            return None
        y = ops.linear(x, *found.joined)
        return [y[..., cut] for cut in found.cuts]


def _look_up(arrays: list[Any]) -> _Found:
    """Return what there is in the place of the weights, and then the biases or None, of some maps."""
    weights, biases = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
    cuts = [slice(*pair) for pair in pairwise(accumulate(map(len, weights), initial=0))]
    weight, given = side_by_side(weights), [bias for bias in biases if bias is not None]
    bias = side_by_side(given) if len(given) == len(weights) else None
    can_join = weight is not None and (bias is not None or not given)
    return _Found(arrays, (weight, bias) if can_join else None, cuts)


def _part_of(name: str) -> str:
    """Return the name of the module around the one that a parameter belongs to."""
    return ".".join(name.split(".")[:-2])
