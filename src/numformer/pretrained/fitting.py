"""The check that the tensors of a file are those of a model, before one of them is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numformer.errors import InputError


def check_fit(model: Any, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise InputError listing every missing, unexpected and misshapen tensor, by its name in the file."""
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
        listed = "; ".join(f"{what}: {', '.join(each)}" for what, each in problems.items() if each)
        raise InputError(f"the weights do not fit {type(model).__name__}: {listed}")
