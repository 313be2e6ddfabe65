"""What counts as an array, and of which kind it is.

An op has one body for each kind of array: "numpy", the kind with hand-derived pullbacks, and others that a body was
registered for. The kind is the first part of the name of the array's own namespace in the array API standard
(`x.__array_namespace__()`), such as "numpy" or "jax". What models do to ids, masks and positions outside ops is written in
that namespace, so it works on every kind.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

NUMPY = "numpy"
_kind_of_type: dict[type, str] = {
    **dict.fromkeys((np.ndarray, int, float, bool, complex, list, tuple, range, slice, type(None)), NUMPY)
}


# The room that registers what a kind of array needs, by its name: it lies above this one, which imports none of it.
_ROOMS = {"jax": "numformer.jax"}


@runtime_checkable
class Array(Protocol):
    """An array of any library that follows the array API standard, or a Tensor that holds one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def dtype(self) -> Any:
        """Type of the elements, an object of the array's own library."""


ArrayLike: TypeAlias = "Array | np.ndarray | list[Any] | tuple[Any, ...] | int | float"
"""What becomes an array: an array of any kind, a Tensor, numbers, and lists of them."""


def kind_of(value: Any) -> str:
    """Return the kind of an array; everything that is no array of another library counts as "numpy"."""
    kind = _kind_of_type.get(type(value))
    if kind is None:
        kind = _kind_of_type[type(value)] = _look_up(value)
    return kind


def open_room(kind: str) -> None:
    """Import the room for a kind of array, if there is one: nobody needs to import it before the first such array."""
    if kind in _ROOMS:
        importlib.import_module(_ROOMS[kind])


def namespace_of(array: Any) -> Any:
    """Return the functions of the array API standard for an array's kind: `numpy` for a Tensor or a list."""
    return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np


def memory_of(x: Any) -> Any:
    """Return the array whose memory x shows: itself, or the one that it is a view of."""
    while isinstance(getattr(x, "base", None), np.ndarray):
        x = x.base
    return x


def side_by_side(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return arrays that lie one after the other in the memory of one as an array; None where they do not."""
    first = arrays[0]
    owner = memory_of(first)
    if owner.dtype != first.dtype or not owner.flags.c_contiguous:
        return None
    at = first.ctypes.data
    for array in arrays:
        if array.ctypes.data != at or not array.flags.c_contiguous or memory_of(array) is not owner:
            return None
        if array.dtype != first.dtype or array.shape[1:] != first.shape[1:]:
            return None
        at += array.nbytes
    start = (first.ctypes.data - owner.ctypes.data) // first.itemsize
    shape = (sum(map(len, arrays)), *first.shape[1:])
    return owner.reshape(-1)[start : start + math.prod(shape)].reshape(shape)


def ragged(rows: Any) -> str:
    """Say of nested lists that make no array which lengths their rows have."""
    lengths = [len(row) for row in rows if hasattr(row, "__len__")]
    shown = ", ".join(map(str, lengths[:4])) + (", …" if len(lengths) > 4 else "")
    return f"rows of {shown} elements; pad them first (nf.PaddingCollate does)"


def _look_up(value: Any) -> str:
    return str(namespace_of(value).__name__).partition(".")[0]
