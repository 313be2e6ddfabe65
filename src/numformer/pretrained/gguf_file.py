"""GGUF files: the header, the metadata and the table of tensors, checked before anything is taken at its word.

The format is that of ggml (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.pretrained.gguf_types import TYPES, UNREAD, BlockType, dequantise

MAGIC = b"GGUF"
ALIGNMENT = 32  # of the tensors' data, in bytes, where the metadata does not say
BOOL, STRING, ARRAY = 7, 8, 9  # kinds of metadata
NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    BOOL: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}

_MOST_DIMENSIONS = 4
_LONGEST_NAME = 256  # characters
_SMALLEST_ENTRY = 13  # bytes of a key without letters and a value of one byte
_SMALLEST_TENSOR = 24  # bytes of a tensor's entry without letters and without dimensions

_WORDS: dict[type, str] = {
    **{int: "a whole number", float: "a number with a fraction", bool: "a yes or no", str: "a text"},
    **{list: "a list of texts", np.ndarray: "a list of numbers"},
}

Kind = TypeVar("Kind", int, float, str, bool)


class Metadata(dict[str, Any]):
    """What a file says about itself; arrays of numbers are NumPy's, those of texts are lists."""

    def need(self, key: str, kind: type[Kind]) -> Kind:
        """Return a value of a kind; raises InputError when it is missing or of another kind."""
        if key not in self:
            raise InputError(f"the metadata lacks {key}")
        value = self[key]
        if type(value) is not kind:
            raise InputError(f"the metadata has {_WORDS[type(value)]} as {key}, expected {_WORDS[kind]}")
        return value

    def want(self, key: str, kind: type[Kind], default: Kind) -> Kind:
        """Return a value of a kind, or a default where it is missing; raises InputError when it is of another kind."""
        return self.need(key, kind) if key in self else default


class TensorInfo(NamedTuple):
    """Where a tensor lies: its shape in NumPy's order, and the place of its first byte in the file."""

    shape: tuple[int, ...]
    kind: BlockType
    start: int

    @property
    def num_bytes(self) -> int:
        """The bytes that it takes in the file."""
        return self.kind.num_bytes(prod(self.shape))


class GGUFFile:
    """A GGUF file, mapped into memory: `metadata`, and `tensors` by name; `read` gives the numbers of one.

    Raises InputError, which does not name the file, for one that is damaged or of a kind that is not read.
    """

    def __init__(self, path: str | Path) -> None:
        self._data = _map(Path(path))
        cursor = _Cursor(self._data)
        num_tensors, num_entries = _header(cursor)
        self.metadata = _metadata(cursor, num_entries)
        self.tensors = _tensors(cursor, num_tensors, _alignment(self.metadata), len(self._data))

    def read(self, name: str, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return a tensor as float32, in the memory of `out` where it is given.

        Raises InputError where its numbers are not finite.
        """
        shape, kind, start = self.tensors[name]
        blocks = np.frombuffer(self._data, kind.layout, prod(shape) // kind.size, start)
        try:
            return dequantise(blocks, kind, np.empty(shape, np.float32) if out is None else out)
        except InputError as error:
            raise InputError(f"the tensor {name} {error}") from None

    def raw(self, name: str) -> bytes:
        """Return the bytes of a tensor as they are in the file."""
        info = self.tensors[name]
        return self._data[info.start : info.start + info.num_bytes]


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise InputError("there is no such file") from None
    except (OSError, ValueError) as error:  # a ValueError says that the file is empty
        raise InputError(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None


class _Cursor:
    """A place in the file that moves on with what is read, and never past the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.position = data, 0

    def take(self, num_bytes: int, what: str) -> bytes:
        """Return the next bytes; raises InputError where the file ends before."""
        self.need(num_bytes, what)
        self.position += num_bytes
        return self.data[self.position - num_bytes : self.position]

    def need(self, num_bytes: int, what: str) -> None:
        """Raise InputError where fewer bytes are left."""
        left = len(self.data) - self.position
        if num_bytes > left:
            place = f"{num_bytes} bytes at byte {self.position}, where {left} are left"
            raise InputError(f"the file is cut short or damaged: {what} would take {place}")

    def number(self, code: str, what: str) -> int:
        """Return the next whole number, packed as `struct` has it."""
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))[0])

    def text(self, what: str) -> str:
        """Return the next text, which follows its length; raises InputError where it is not UTF-8."""
        content = self.take(self.number("Q", what), what)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise InputError(f"{what} is not valid UTF-8: {content[:40]!r}") from None

    def name(self, what: str) -> str:
        """Return the next text; raises InputError where it could not be the name of anything."""
        name = self.text(what)
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise InputError(f"the file is damaged: {what} is {name[:40]!r}")
        return name


def _header(cursor: _Cursor) -> tuple[int, int]:
    """Return the numbers of tensors and of metadata entries, none so large that the file could not hold them."""
    magic = cursor.take(4, "the header")
    if magic != MAGIC:
        raise InputError(f"it is not a GGUF file: it begins with {magic!r}, expected {MAGIC!r}")
    version = cursor.number("I", "the header")
    if version not in (2, 3):
        if version & 0xFFFF == 0:
            raise InputError("it is a big-endian GGUF file, and only little-endian ones are read")
        raise InputError(f"its GGUF version is {version}, supported are 2 and 3")
    num_tensors, num_entries = (cursor.number("Q", "the header") for _ in range(2))
    cursor.need(num_entries * _SMALLEST_ENTRY + num_tensors * _SMALLEST_TENSOR, f"{num_tensors} tensors")
    return num_tensors, num_entries


def _metadata(cursor: _Cursor, num_entries: int) -> Metadata:
    metadata = Metadata()
    for number in range(1, num_entries + 1):
        key = cursor.name(f"the key of metadata entry {number}")
        if key in metadata:
            raise InputError(f"the metadata has {key} twice")
        metadata[key] = _value(cursor, cursor.number("I", key), key)
    return metadata


def _value(cursor: _Cursor, kind: int, key: str) -> Any:
    if kind == STRING:
        return cursor.text(key)
    if kind == ARRAY:
        return _array(cursor, key)
    value = _numbers(cursor, kind, 1, key)[0]
    return float(str(value)) if value.dtype == np.float32 else value.item()  # 1e-5, not its neighbour in float64


def _array(cursor: _Cursor, key: str) -> list[str] | NDArray[Any]:
    kind, count = cursor.number("I", key), cursor.number("Q", key)
    if kind != STRING:
        return _numbers(cursor, kind, count, key)
    cursor.need(8 * count, f"the {count} texts of {key}")
    return [cursor.text(key) for _ in range(count)]


def _numbers(cursor: _Cursor, kind: int, count: int, key: str) -> NDArray[Any]:
    if kind not in NUMBERS:
        raise InputError(f"the metadata has {key} of kind {kind}, which is not read")
    dtype = np.dtype(NUMBERS[kind])
    return np.frombuffer(cursor.take(count * dtype.itemsize, key), dtype)


def _alignment(metadata: Metadata) -> int:
    alignment = metadata.want("general.alignment", int, ALIGNMENT)
    if alignment < 1 or alignment & (alignment - 1):
        raise InputError(f"general.alignment must be a power of two, got {alignment}")
    return alignment


def _tensors(cursor: _Cursor, count: int, alignment: int, size: int) -> dict[str, TensorInfo]:
    """Return where each tensor lies; raises InputError where one lies outside the file or over another."""
    entries: dict[str, TensorInfo] = {}
    for number in range(1, count + 1):
        name = cursor.name(f"the name of tensor {number}")
        if name in entries:
            raise InputError(f"the tensor {name} is there twice")
        entries[name] = _entry(cursor, name, alignment)
    first = -(-cursor.position // alignment) * alignment  # offsets count from here
    tensors = {name: info._replace(start=first + info.start) for name, info in entries.items()}
    for name, info in tensors.items():
        if (end := info.start + info.num_bytes) > size:
            raise InputError(
                f"the file is cut short or damaged: the tensor {name} ends at byte {end}, the file at {size}"
            )
    in_order = sorted(tensors, key=lambda name: tensors[name].start)
    for one, other in pairwise(in_order):
        if tensors[one].start + tensors[one].num_bytes > tensors[other].start:
            raise InputError(f"the file is damaged: the tensors {one} and {other} overlap")
    return tensors


def _entry(cursor: _Cursor, name: str, alignment: int) -> TensorInfo:
    """Return an entry of the table, its start counted from the first tensor's."""
    what = f"the entry of the tensor {name}"
    num_dimensions = cursor.number("I", what)
    if not 1 <= num_dimensions <= _MOST_DIMENSIONS:
        raise InputError(f"the tensor {name} has {num_dimensions} dimensions, expected 1 to {_MOST_DIMENSIONS}")
    shape = tuple(cursor.number("Q", what) for _ in range(num_dimensions))[::-1]
    number, offset = cursor.number("I", what), cursor.number("Q", what)
    if number not in TYPES:
        known = ", ".join(kind.name for kind in TYPES.values())
        raise InputError(
            f"the tensor {name} is of type {UNREAD.get(number, number)}, which is not read; supported are {known}"
        )
    kind = TYPES[number]
    if 0 in shape or shape[-1] % kind.size:
        raise InputError(
            f"the tensor {name} has the shape {list(shape)}, which is not made of blocks of {kind.size} ({kind.name})"
        )
    if offset % alignment:
        raise InputError(f"the tensor {name} begins at {offset}, which is not a multiple of {alignment}")
    return TensorInfo(shape, kind, offset)
