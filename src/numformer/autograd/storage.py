"""What pullbacks keep for the backward pass, in float32 or in half the memory (Chakrabarti and Moseley 2019,
arXiv:1901.07988).

What an op's `vjp` mentions goes through `kept = save(x, need)` and comes back as `load(kept)`. Both return what they are
given, except while the forward runs under

    with storage("float16-storage"):
        loss = ...

Then `save` makes a float16 copy, and the array itself is free to die. The forward is the same to the last bit, all
arithmetic stays float32, and so do gradients: they are off by what float16 rounds away, about 5e-4 of a value. Values
beyond ±65504 become ±65504, values below 3e-8 become 0.

Never converted: integers and masks; parameters and other arrays that somebody gave, which are alive anyway; and, by not
going through `save`, the statistics of a row (one number for many) and divisors (a divisor rounded to 0 makes the gradient
infinite).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from numformer.autograd import mode
from numformer.autograd.array import memory_of
from numformer.autograd.blocks import blocks
from numformer.autograd.decorator import Need
from numformer.errors import InputError

Precision = Literal["float32", "float16-storage"]
LARGEST = 65504.0  # of float16
# Added and taken away again, GRID rounds a small float32 to a multiple of 2**-24, the smallest float16. NumPy converts
# numbers below 2**-14 that are none of its multiples 15 to 30 times more slowly, and softmax makes many of them.
GRID = 0.75


class _Copy:
    """The float16 copy of a piece of memory, in the order of that memory, for all who keep it."""

    __slots__ = ("__weakref__", "owner", "values")

    def __init__(self, memory: np.ndarray, owner: np.ndarray) -> None:
        self.values = _to_float16(memory.reshape(-1))
        self.owner = weakref.ref(owner)  # tells whether the address still means the same array


class _Kept(NamedTuple):
    """An array in storage: its copy, its shape in memory order, and the axes that lead back from there."""

    copy: _Copy
    shape: tuple[int, ...]
    axes: list[int]
    dtype: np.dtype[Any]


class _State(threading.local):
    copies: weakref.WeakValueDictionary[tuple[Any, ...], _Copy] | None = None  # by place in memory; None: float32


_state = _State()


@contextmanager
def storage(precision: Precision) -> Iterator[None]:
    """Choose, for this thread, how what is computed in the block is kept for the backward pass.

    Arrays that several pullbacks keep are stored once, so none may be written to before the block ends.
    Raises InputError for an unknown precision.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision must be {' or '.join(get_args(Precision))}, got {precision!r}")
    before, _state.copies = _state.copies, None if precision == "float32" else weakref.WeakValueDictionary()
    mode.current.storing = _state.copies is not None
    try:
        yield
    finally:
        _state.copies = before
        mode.current.storing = before is not None


def precision() -> Precision:
    """Return what this thread chose."""
    return "float32" if _state.copies is None else "float16-storage"


def save(x: Any, need: Need) -> Any:
    """Return what a running op's pullback keeps of x, for `load`; x itself where nothing is gained."""
    if _state.copies is None or not isinstance(x, np.ndarray) or not any(need):
        return x
    owner = memory_of(x)
    given = any(isinstance(array, np.ndarray) and memory_of(array) is owner for array in need.given)
    return x if given else store(x)


def store(x: np.ndarray) -> Any:
    """Return x as this thread chose to keep it, for `load`."""
    owner = memory_of(x)
    if (
        _state.copies is None or x.dtype.char not in "fd" or x.ndim == 0 or x.nbytes > owner.nbytes
    ):  # more: x repeats memory
        return x
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    memory = x.transpose(order)
    key = (id(owner), x.__array_interface__["data"][0], x.nbytes, x.dtype)
    copy = _state.copies.get(key) if memory.flags.c_contiguous else None
    if copy is None or copy.owner() is not owner:
        copy = _Copy(memory, owner)
        if memory.flags.c_contiguous:  # a view with gaps would share its key with other elements
            _state.copies[key] = copy
    return _Kept(copy, memory.shape, sorted(range(x.ndim), key=order.__getitem__), x.dtype)


def load(kept: Any) -> Any:
    """Return the array behind what `save` returned, in its own shape, memory order and dtype."""
    if not isinstance(kept, _Kept):
        return kept
    x = kept.copy.values.reshape(kept.shape).astype(kept.dtype)
    return (
        x if kept.axes == sorted(kept.axes) else x.transpose(kept.axes)
    )  # NumPy works in place on x, but not on a view


def _to_float16(x: np.ndarray) -> np.ndarray:
    """Round a vector to float16, with the largest there is in place of infinity."""
    half = np.empty(x.shape, np.float16)
    try:
        with np.errstate(over="raise"):
            for part in blocks(x.size):
                values = x[part] + GRID
                values -= GRID
                half[part] = values
    except FloatingPointError:
        return _to_float16(np.clip(x, -LARGEST, LARGEST))
    return half
