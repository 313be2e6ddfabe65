"""Models and their tokenizers written as GGUF files, version 3."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numformer._files import replacing
from numformer.errors import InputError
from numformer.pretrained.adapters import adapter_of
from numformer.pretrained.gguf_config import config_metadata, head_width, llama3_divisors, rope_table
from numformer.pretrained.gguf_families import Family
from numformer.pretrained.gguf_file import ALIGNMENT, ARRAY, BOOL, MAGIC, STRING
from numformer.pretrained.gguf_models import architecture_in_gguf, gguf_names, is_swapped, swap_pairs
from numformer.pretrained.gguf_types import BY_NAME, BlockType, quantise
from numformer.pretrained.gguf_vocabulary import tokenizer_metadata

FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7}  # what a file says of the type of most of its tensors
_UINT32, _INT32, _FLOAT32 = 4, 5, 6
_KEPT = ("position_embd.weight", "rope_freqs.weight")  # with vectors, as float32


class Tensor(NamedTuple):
    """A tensor to be written: the type that it gets, where it begins after the first one, and the heads to be turned."""

    name: str
    array: NDArray[np.float32]
    kind: BlockType
    offset: int
    head_width: int  # of queries and keys whose rows lie in another order in the file; 0 elsewhere


def write_gguf(
    model: Any, tokenizer: Any, path: str | Path, dtype: str = "q8_0", chat_template: str | None = None
) -> None:
    """Write a model, llama or gpt2, with its tokenizer in one step; matrices are of the type q8_0, f16 or f32.

    Vectors and tables of positions stay float32, and matrices whose rows are no multiple of 32 become f16 in place of q8_0.
    Raises InputError for a model, a tokenizer or numbers that cannot be written so, and when the file cannot be.
    """
    if dtype not in FILE_TYPES:
        raise InputError(f"GGUF files are written as {', '.join(FILE_TYPES)}, got {dtype!r}")
    if adapter_of(model) is not None:
        raise InputError("a model with adapters cannot be written as GGUF: merge them first")
    name, family = architecture_in_gguf(model)
    keys = model.config.to_disk()
    metadata: dict[str, Any] = {"general.architecture": name, "general.type": "model"}
    metadata |= {"general.file_type": FILE_TYPES[dtype], "general.quantization_version": 2}
    metadata |= config_metadata(name, family, keys)
    metadata |= tokenizer_metadata(tokenizer, keys["vocab_size"])
    if chat_template is not None:
        metadata["tokenizer.chat_template"] = chat_template
    tensors = list(_tensors(model, family, keys, dtype))
    with replacing(path) as temporary, temporary.open("wb") as file:
        _write(file, metadata, tensors)


def _tensors(model: Any, family: Family, keys: dict[str, Any], dtype: str) -> Iterator[Tensor]:
    names, offset = gguf_names(model, family), 0
    arrays = {names[ours]: np.asarray(parameter.data) for ours, parameter in model.named_parameters()}
    if rope_table(keys).get("rope_type") == "llama3":
        rope = rope_table(keys)
        arrays["rope_freqs.weight"] = llama3_divisors(rope, rope["rope_theta"], head_width(keys))
    for name, array in arrays.items():
        kind = _kind(name, array, dtype)
        width = head_width(keys) if family.swaps_pairs and is_swapped(name) else 0
        yield Tensor(name, array, kind, offset, width)
        offset += _padded(kind.num_bytes(array.size))


def _kind(name: str, array: NDArray[Any], dtype: str) -> BlockType:
    if array.ndim < 2 or name in _KEPT:
        return BY_NAME["F32"]
    kind = BY_NAME[dtype.upper()]
    return kind if array.shape[-1] % kind.size == 0 else BY_NAME["F16"]


def _write(file: BinaryIO, metadata: dict[str, Any], tensors: list[Tensor]) -> None:
    file.write(MAGIC + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        file.write(_text(key) + _value(value))
    for name, array, kind, offset, _ in tensors:
        file.write(_text(name) + struct.pack("<I", array.ndim))
        file.write(struct.pack(f"<{array.ndim}Q", *array.shape[::-1]) + struct.pack("<IQ", kind.number, offset))
    for name, array, kind, _, width in tensors:
        file.write(bytes(_padded(file.tell()) - file.tell()))
        array = swap_pairs(array, width, to_file=True) if width else array
        try:
            file.write(quantise(array, kind).tobytes())
        except InputError as error:
            raise InputError(f"the tensor {name} {error}") from None
    file.write(bytes(_padded(file.tell()) - file.tell()))


def _padded(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise InputError(f"a text for the metadata is not valid Unicode: {text[:40]!r}") from None
    return struct.pack("<Q", len(content)) + content


def _value(value: Any) -> bytes:
    """Return a value of the metadata after the number of its kind."""
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", _UINT32, value)
        case float():
            return struct.pack("<If", _FLOAT32, value)
        case str():
            return struct.pack("<I", STRING) + _text(value)
    head, number = struct.pack("<I", ARRAY), len(value)
    if value and isinstance(value[0], int):
        return head + struct.pack(f"<IQ{number}i", _INT32, number, *value)
    if value and isinstance(value[0], float):
        return head + struct.pack(f"<IQ{number}f", _FLOAT32, number, *value)
    return head + struct.pack("<IQ", STRING, number) + b"".join(map(_text, value))
