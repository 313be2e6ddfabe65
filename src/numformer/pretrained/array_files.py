"""Arrays in a file of the safetensors format: a length, a JSON header that says where each array lies, and the arrays.

A header is checked whole before one of its sizes is believed. Arrays are mapped into memory: the pages of one are read when
they are used, and copied when they are written to, so that nobody changes the file.
"""

from __future__ import annotations

import json
import math
import mmap
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numformer._files import replacing
from numformer.errors import InputError
from numformer.pretrained.floats import from_bfloat16, narrowed

BFLOAT16 = "BF16"
KINDS: dict[str, np.dtype[Any]] = {  # of numbers, as the format names them
    **{"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BOOL": np.dtype(bool)},
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    BFLOAT16: np.dtype("<u2"),
}
NAMES = {dtype: name for name, dtype in KINDS.items() if name != BFLOAT16}
MAX_HEADER = 1 << 24  # bytes; the largest models have one of a few million
_MAX_AXES = 16


class Place(NamedTuple):
    """Where the numbers of an array lie behind the header, and what they are."""

    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int


class ArrayFile:
    """A file whose header has been read and checked: `metadata`, `places` by name, and `read(name)`.

    Raises InputError when it is missing or damaged. A file that says its checksum, as ours do, has it where `check()` passes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"there is no {path}")
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                self.start = 8 + _header_length(file.read(8), size)
                header = file.read(self.start - 8)
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self.metadata, self.places = _parsed(header, size - self.start)
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} is damaged or not a safetensors file: {error}") from None

    def check(self) -> None:
        """Raise InputError when the content does not have the checksum that is written in the file, where one is."""
        if (crc := self.metadata.get("crc32")) and crc != _checksum(self.path, crc):
            raise InputError(f"{self.path} is damaged: its content does not have the checksum that was written with it")

    def read(self, name: str) -> NDArray[Any]:
        """Return an array, mapped where it can be; bfloat16 becomes float32."""
        place = self.places[name]
        kind, first = KINDS[place.kind], self.start + place.start
        if place.stop == place.start:
            return np.zeros(place.shape, np.float32 if place.kind == BFLOAT16 else kind)
        array = np.frombuffer(self._content, kind, math.prod(place.shape), first).reshape(place.shape)
        if place.kind == BFLOAT16:
            wide = from_bfloat16(array)
            self.forget(name)
            return wide
        # Where a mapped file cannot be replaced, saving over it would fail; arrays that are not aligned are slow.
        return array.copy() if sys.platform == "win32" or first % kind.itemsize else array

    def forget(self, name: str) -> None:
        """Give back the memory of the pages of an array that has been copied, where the system can."""
        place, page = self.places[name], mmap.PAGESIZE
        first = -(-(self.start + place.start) // page) * page  # the pages at both ends are of other arrays too
        length = (self.start + place.stop) // page * page - first
        if length > 0 and hasattr(mmap, "MADV_DONTNEED"):
            self._content.madvise(mmap.MADV_DONTNEED, first, length)


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays and the metadata of a file; raises InputError when it is missing or damaged."""
    file = ArrayFile(path)
    file.check()
    return {name: file.read(name) for name in file.places}, file.metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file without reading its arrays; raises InputError as read_safetensors does."""
    return ArrayFile(path).metadata


def write_safetensors(
    path: Path, tensors: dict[str, NDArray[Any]], metadata: dict[str, str], dtype: str = "float32"
) -> None:
    """Write arrays and metadata in one step, with a checksum of all of it; equal content gives equal bytes.

    With `dtype` float16 or bfloat16 the float32 arrays are saved so, one after the other. Raises InputError when a number is
    too large for it, and when the file cannot be written.
    """
    kinds = {name: _kind_to_write(array, dtype) for name, array in tensors.items()}
    order = sorted(tensors, key=lambda name: (-KINDS[kinds[name]].itemsize, name))  # so that every array is aligned
    places, at = dict[str, Any](), 0
    for name in order:
        size = tensors[name].size * KINDS[kinds[name]].itemsize
        places[name] = {
            "dtype": kinds[name],
            "shape": list(tensors[name].shape),
            "data_offsets": [at, at + size],
        }
        at += size

    def header(crc: int) -> bytes:
        text = json.dumps({"__metadata__": {"crc32": f"{crc:08x}", **metadata}, **places}).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    with replacing(path) as temporary, temporary.open("wb") as file:
        crc = zlib.crc32(header(0))
        file.write(header(0))
        for name in order:
            data = np.asarray(narrowed(name, tensors[name], dtype), order="C").data
            crc = zlib.crc32(data, crc)
            file.write(data)
        file.seek(0)
        file.write(header(crc))


def _kind_to_write(array: NDArray[Any], dtype: str) -> str:
    """Return how the format names the numbers that an array is saved as."""
    if array.dtype != np.float32:
        return NAMES[array.dtype]
    return BFLOAT16 if dtype == "bfloat16" else NAMES[np.dtype(dtype)]


def _header_length(given: bytes, size: int) -> int:
    """Return the length of the header; raises ValueError for one that cannot be."""
    length = int.from_bytes(given, "little")
    if len(given) < 8:
        raise ValueError(f"it has {len(given)} bytes")
    if length > size - 8:
        raise ValueError(f"its header would be {length} bytes long, and the file has {size}")
    if length > MAX_HEADER:
        raise ValueError(f"its header would be {length} bytes long, and at most {MAX_HEADER} are read")
    return length


def _parsed(header: bytes, size: int) -> tuple[dict[str, str], dict[str, Place]]:
    """Return the metadata and the places of a header in front of `size` bytes; raises ValueError for one that is wrong."""
    content = json.loads(header, object_pairs_hook=_without_repetition)
    if not isinstance(content, dict):
        raise ValueError("its header is no JSON object")
    metadata = content.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    places = {name: _place(name, entry) for name, entry in content.items()}
    at, before = 0, "the header"
    for name, place in sorted(places.items(), key=lambda item: item[1][2:]):
        if place.start != at:
            wrong = "overlaps" if place.start < at else "leaves a gap after"
            raise ValueError(f"{name[:100]!r} {wrong} {before[:100]!r}")
        at, before = place.stop, name
    if at != size:
        raise ValueError(f"its arrays take {at} bytes, and it has {size} for them")
    return metadata, places


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object; a name that comes twice could mean two arrays."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name comes twice in its header")
    return content


def _place(name: str, entry: Any) -> Place:
    """Return the place that an entry of a header describes; raises ValueError for one that is wrong."""
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            if kind not in KINDS:
                raise ValueError(f"{name[:100]!r} is of the type {kind[:20]!r}; read are {', '.join(KINDS)}")
            if len(shape) <= _MAX_AXES and all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
                if stop - start != math.prod(shape) * KINDS[kind].itemsize:
                    raise ValueError(
                        f"{name[:100]!r} has {stop - start} bytes, which are not those of {kind} {shape}"[:300]
                    )
                return Place(kind, tuple(shape), start, stop)
    raise ValueError(f"the entry of {name[:100]!r} in its header is not understood")


def _checksum(path: Path, written: str) -> str:
    """Return the checksum of a file, as it was before the checksum itself was put into the header."""
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little")).replace(written.encode(), b"00000000", 1)
        crc = zlib.crc32(length + header)
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return f"{crc:08x}"
