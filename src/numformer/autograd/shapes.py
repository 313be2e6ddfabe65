"""The shape line: the one line of an op's docstring that says, and lets programs check, which shapes go in and come out.

Grammar: `name [axes], name [axes] -> [axes], [axes] with setting=expression, ...`. An axis is a letter of the legend in
`numformer.ops`, a number, a sum such as `T+S`, or a leading `...` for any axes. `[T] < V` means integers below V, `[T] bool`
a mask whose axes may each also be 1, `[T] or 1` the same for other arrays. The settings are an example that tests use.
Several shape lines are alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from numformer.autograd.array import namespace_of
from numformer.errors import InputError

_ARGUMENT = re.compile(r"(\w+) \[([^\]]*)\](?: (bool)| < (\w+)| (or 1))?")
_LINE = re.compile(r"^\s*(\w+ \[.*?) -> ((?:\[[^\]]*\](?:, )?)+)(?: with (.*?))?\.?$", re.MULTILINE)


@dataclass(frozen=True)
class Argument:
    """One array of a shape line: its axes, and for integers and masks what it holds."""

    name: str
    axes: tuple[str, ...]
    boolean: bool = False
    below: str | None = None
    may_be_one: bool = False


@dataclass(frozen=True)
class ShapeLine:
    """A parsed shape line."""

    text: str
    arguments: tuple[Argument, ...]
    results: tuple[tuple[str, ...], ...]
    settings: str

    def mismatch(self, arrays: Sequence[Any]) -> str | None:
        """Return None when the arrays fit, else the first contradiction in words."""
        sizes: dict[str, tuple[int, str]] = {}
        for argument, array in zip(self.arguments, arrays, strict=False):
            if not _has_axes(array) or (argument.axes == ("...",) and not argument.below):
                continue
            problem = _match(argument, array, sizes)
            if problem:
                return problem
        return None


def parse_shape_lines(docstring: str) -> list[ShapeLine]:
    """Return the shape lines of a docstring, in order."""
    lines = []
    for match in _LINE.finditer(docstring):
        arguments = tuple(
            Argument(name, tuple(axes.split()), bool(boolean), below or None, bool(boolean or or_one))
            for name, axes, boolean, below, or_one in _ARGUMENT.findall(match[1])
        )
        results = tuple(tuple(axes.split()) for axes in re.findall(r"\[([^\]]*)\]", match[2]))
        lines.append(ShapeLine(match[0].strip(), arguments, results, match[3] or ""))
    return lines


def check_shapes(name: str, lines: list[ShapeLine], arrays: Sequence[Any]) -> None:
    """Raise InputError unless the arrays, of any kind that has `shape` and `dtype`, fit one of the shape lines."""
    count = max((number for number, array in enumerate(arrays, start=1) if array is not None), default=0)
    long_enough = [line for line in lines if len(line.arguments) >= count] or lines
    problems = []
    for line in long_enough:
        if (problem := line.mismatch(arrays)) is None:
            return
        problems.append(problem)
    if problems:
        raise InputError(f"{name}: {problems[0]} (expected {long_enough[0].text})")


def _has_axes(array: Any) -> bool:
    return isinstance(array, np.ndarray) or (
        hasattr(array, "__array_namespace__") and not isinstance(array, np.generic)
    )


def _is_dtype(array: Any, kind: Literal["integral", "bool"]) -> bool:
    if isinstance(array.dtype, np.dtype):
        return array.dtype.kind in {"integral": "iu", "bool": "b"}[kind]
    return bool(namespace_of(array).isdtype(array.dtype, kind))


def _match(argument: Argument, array: Any, sizes: dict[str, tuple[int, str]]) -> str | None:
    axes, shape = argument.axes, array.shape
    if argument.below and not _is_dtype(array, "integral"):
        return f"{argument.name} must hold integers, got {array.dtype}"
    if argument.boolean and not _is_dtype(array, "bool"):
        return f"{argument.name} must be boolean (True = attend), got {array.dtype}"
    if axes and axes[0] == "...":
        axes = axes[1:]
        shape = shape[max(0, len(shape) - len(axes)) :]
    if len(shape) != len(axes):
        return f"{argument.name} has shape {_show(array.shape)}, expected axes [{' '.join(argument.axes)}]"
    for axis, length in zip(axes, shape, strict=True):
        if axis.isdigit():
            if length != int(axis):
                return f"{argument.name} has shape {_show(array.shape)}, expected axes [{' '.join(argument.axes)}]"
        elif not (argument.may_be_one and length == 1):
            known, owner = sizes.setdefault(axis, (length, argument.name))
            if known != length:
                return f"{axis} is {known} in {owner} but {length} in {argument.name} of shape {_show(array.shape)}"
    return None


def _show(shape: tuple[int, ...]) -> str:
    return f"[{' '.join(map(str, shape))}]"
