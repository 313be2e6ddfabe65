"""Numbers of two bytes: float16 and bfloat16, which is a float32 without its last 16 bits, as float32 and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError

FLOATS = ("float32", "float16", "bfloat16")  # in which weights are saved


def check_float(dtype: str) -> None:
    """Raise InputError for a kind of numbers in which no weights are saved."""
    if dtype not in FLOATS:
        raise InputError(f"weights are saved as {', '.join(FLOATS)}, got {dtype!r}")


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 numbers that bfloat16 ones are, exactly."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16 of each number, of two equally near ones the even."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    rounded = (bits >> 16) & 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded.astype(np.uint16))


def narrowed(name: str, array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return an array to be saved as one of FLOATS, where it holds float32 numbers; bfloat16 comes as bits.

    Raises InputError, naming the array, for a number that is too large.
    """
    if array.dtype != np.float32 or dtype == "float32":
        return array
    if dtype == "bfloat16":
        bits = to_bfloat16(array)
        is_finite = np.isfinite(from_bfloat16(bits)).all()
    else:
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        is_finite = np.isfinite(half).all()
    if not is_finite and np.isfinite(array).all():
        raise InputError(f"{name} holds {np.abs(array).max():.6g}, which is too large for {dtype}: save it as float32")
    return bits if dtype == "bfloat16" else half
