"""The check that the tensors of a file are those of a model, before one of them is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numformer.errors import InputError

_MOST = 8  # names that a message lists


def check_fit(model: Any, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise InputError naming missing, unexpected and misshapen tensors, as they are called in the file."""
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": sorted(name for name in found if name not in expected),
        "of the wrong shape": [
            f"{name} (got {list(found[name])}, expected {list(shape)})"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{what}: {few_names(each)}" for what, each in problems.items() if each)
        raise InputError(f"the weights do not fit {type(model).__name__}: {listed}")


def few_names(names: list[str], most: int = _MOST) -> str:
    """Return names with commas between them, and of many the first and how many more there are."""
    rest = len(names) - most
    return ", ".join(name[:200] for name in names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
