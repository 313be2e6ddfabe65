"""Vectors of texts in .npy files, written row by row and read as they lie on the disk; and how similar they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from numformer._files import replacing
from numformer._notices import amount
from numformer.errors import InputError

SUFFIX = ".npy"


def check_vector_file(path: Path) -> None:
    """Raise InputError for a file whose name does not say that it holds an array of NumPy."""
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"vectors are in a {SUFFIX} file, got {path}")


@contextmanager
def writing_vectors(path: Path, width: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield what writes a vector [D] to a file of float32 [N D], which takes its place in one step when the block succeeds.

    No more than one of them is held. Raises InputError when it cannot be written.
    """
    count = 0

    def write(vector: np.ndarray) -> None:
        nonlocal count
        file.write(np.ascontiguousarray(vector, "<f4").data)
        count += 1

    with replacing(path) as temporary, temporary.open("wb") as file:
        _write_header(file, 0, width)
        start = file.tell()
        yield write
        file.seek(0)
        _write_header(file, count, width)
        assert file.tell() == start, "NumPy leaves room for a longer first axis"


def read_vectors(path: Path, count: int, width: int) -> np.ndarray:
    """Return the vectors [N D] of so many texts in a .npy file, whose pages are read when they are used.

    Raises InputError when it is missing, damaged, of another shape, or holds objects, which could run any program.
    """
    check_vector_file(path)
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there is no {path}") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array of NumPy: {error}") from None
    check_vectors(vectors, count, width, str(path))
    return np.asarray(vectors)


def check_vectors(vectors: Any, count: int, width: int, name: str = "vectors") -> None:
    """Raise InputError for what is no array [N D] of floating-point numbers."""
    if not isinstance(vectors, np.ndarray):
        raise InputError(f"{name}: expected an array of NumPy, got a {type(vectors).__name__}")
    if vectors.shape != (count, width) or vectors.dtype.kind != "f":
        texts, got = amount(count, "texts"), f"{vectors.dtype} {list(vectors.shape)}"
        raise InputError(f"{name}: the vectors of {texts} are float32 {[count, width]} with this model, got {got}")


def cosines(one: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the cosines of the angles between a vector and others, [D] and [N D] -> [N]; 0 for one of length 0.

    Raises InputError for vectors with values that are no finite numbers.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors)) * np.linalg.norm(one)
    found = (vectors @ one) / np.where(lengths > 0, lengths, 1)
    if not np.isfinite(found).all():
        raise InputError(f"vector {int(np.argmin(np.isfinite(found)))} has values that are no finite numbers")
    return np.asarray(found)


def _write_header(file: BinaryIO, count: int, width: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (count, width)})
