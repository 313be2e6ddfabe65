"""What can be seen inside a model: the outputs of its modules and the points in them, by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TypeAlias

from numformer.errors import InputError
from numformer.nn.module import Module
from numformer.nn.tree import join

Place: TypeAlias = tuple[int, str]
"""A module by its id, and one of its points, or "" for the output."""


def first_names(model: Module) -> Iterator[tuple[str, Module]]:
    """Yield every module once, under its first name."""
    known: set[int] = set()
    for name, module in model.named_modules():
        if id(module) not in known:
            known.add(id(module))
            yield name, module


def points_of(model: Module) -> Iterator[tuple[str, Module, str]]:
    """Yield the name, the module and the point of everything that can be seen in a model, the output as the point ""."""
    for name, module in model.named_modules():
        for point in ("", *module.points, *module.points_on_request):
            yield join(name, point) if point else name, module, point


def places_of(model: Module, patterns: list[str] | None, may_be_ops: bool = False) -> dict[Place, str]:
    """Return the places that the patterns fit, by the first name of each; raises InputError where one fits none."""
    found: dict[Place, str] = {}
    fitting: set[str] = set()
    for name, module, point in points_of(model):
        if patterns is None:
            wanted = point not in module.points_on_request
        else:
            fit = {pattern for pattern in patterns if fnmatchcase(name, pattern)}
            fitting |= fit
            wanted = bool(fit)
        if wanted:
            found.setdefault((id(module.unbound), point), name)
    for pattern in patterns or ():
        if pattern not in fitting and not (may_be_ops and ":" in pattern):
            raise InputError(_nothing_named(model, pattern))
    return found


def _nothing_named(model: Module, pattern: str) -> str:
    close = difflib.get_close_matches(pattern, [name for name, _, _ in points_of(model)], n=3)
    return f"{type(model).__name__} has nothing inside named {pattern!r}" + (
        f": did you mean {' or '.join(close)}?" if close else "; `named_modules` lists its modules"
    )
