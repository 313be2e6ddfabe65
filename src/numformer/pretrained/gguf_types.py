"""The types of numbers in GGUF files: blocks of small integers with scales of their own, to float32 and back.

The layouts are those of ggml (github.com/ggml-org/ggml, ggml-common.h). The "K" types have blocks of 256 numbers, whose parts
have scales of 6 or 8 bits, which the scales of the whole block multiply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError

Blocks: TypeAlias = NDArray[Any]  # [N], structured
Numbers: TypeAlias = NDArray[np.float32]  # [N, numbers of a block]

_AT_ONCE = 1 << 18  # so many numbers are worked on at a time: they stay in the cache of a core


class BlockType(NamedTuple):
    """A type: its name, its number in files, how many numbers a block has, how the block lies in the file, and the ways."""

    name: str
    number: int
    size: int
    layout: np.dtype[Any]
    unpack: Callable[[Blocks, Numbers], None]
    pack: Callable[[Numbers, Blocks], None] | None = None  # where we write the type

    def num_bytes(self, count: int) -> int:
        """Return the bytes that so many numbers take in a file."""
        return count // self.size * self.layout.itemsize


def dequantise(blocks: Blocks, kind: BlockType, out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write the numbers of all blocks into an array of so many and return it; raises InputError where one is not finite."""
    rows = out.reshape(-1, kind.size)
    for part in _parts(len(blocks), kind):
        kind.unpack(blocks[part], rows[part])
        if not np.isfinite(rows[part]).all():
            raise InputError("holds numbers that are not finite (NaN or infinity)")
    return out


def quantise(array: NDArray[np.float32], kind: BlockType) -> Blocks:
    """Return the numbers of an array as blocks; raises InputError for those that the type cannot hold."""
    assert kind.pack is not None, "convert writes the types that can be packed"
    rows = np.ascontiguousarray(array, np.float32).reshape(-1, kind.size)
    blocks = np.empty(len(rows), kind.layout)
    for part in _parts(len(rows), kind):
        if not np.isfinite(rows[part]).all():
            raise InputError("holds numbers that are not finite (NaN or infinity)")
        kind.pack(rows[part], blocks[part])
    return blocks


def _parts(num_blocks: int, kind: BlockType) -> list[slice]:
    step = _AT_ONCE // kind.size
    return [slice(start, start + step) for start in range(0, num_blocks, step)]


# Plain numbers


def _plain(blocks: Blocks, out: Numbers) -> None:
    out[:, 0] = blocks


def _bfloat16(blocks: Blocks, out: Numbers) -> None:
    out.view(np.uint32)[:, 0] = blocks  # the upper half of a float32
    out.view(np.uint32)[...] <<= 16


def _pack_f32(rows: Numbers, blocks: Blocks) -> None:
    blocks[...] = rows[:, 0]


def _pack_f16(rows: Numbers, blocks: Blocks) -> None:
    with np.errstate(over="ignore"):
        blocks[...] = rows[:, 0]
    _check_range(blocks)


def _check_range(scales: NDArray[Any]) -> None:
    if not np.isfinite(scales).all():
        raise InputError("holds numbers too large for float16: write it as f32")


# Blocks of 32


def _column(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return one number for each block [N] as what multiplies its numbers [N 1]."""
    return values.astype(np.float32)[:, None]


def _q8_0(blocks: Blocks, out: Numbers) -> None:
    np.multiply(blocks["q"], _column(blocks["d"]), out=out)


def _pack_q8_0(rows: Numbers, blocks: Blocks) -> None:
    """Divide by a 127th of the largest absolute value, rounded to float16 as it is stored, and round to the nearest."""
    with np.errstate(over="ignore"):
        blocks["d"] = np.abs(rows).max(axis=1) / np.float32(127)
    _check_range(blocks["d"])
    scale = _column(blocks["d"])
    whole = np.rint(np.divide(rows, scale, out=np.zeros_like(rows), where=scale > 0))
    blocks["q"] = np.clip(whole, -127, 127)


def _halves(packed: NDArray[np.uint8], out: Numbers) -> None:
    """Fill the first half of every block with the lower four bits of its bytes, and the second with the upper four."""
    half = packed.shape[1]
    out[:, :half] = packed & 15
    out[:, half:] = packed >> 4


def _fifth_bits(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return 16 where a bit of a block's word is set, 0 elsewhere, [N] -> [N 32]."""
    bits = np.unpackbits(words.copy().view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    return bits * np.uint8(16)


def _q4_0(blocks: Blocks, out: Numbers) -> None:
    _halves(blocks["q"], out)
    out -= 8
    out *= _column(blocks["d"])


def _q4_1(blocks: Blocks, out: Numbers) -> None:
    _halves(blocks["q"], out)
    out *= _column(blocks["d"])
    out += _column(blocks["m"])


def _q5_0(blocks: Blocks, out: Numbers) -> None:
    _halves(blocks["q"], out)
    out += _fifth_bits(blocks["h"])
    out -= 16
    out *= _column(blocks["d"])


def _q5_1(blocks: Blocks, out: Numbers) -> None:
    _halves(blocks["q"], out)
    out += _fifth_bits(blocks["h"])
    out *= _column(blocks["d"])
    out += _column(blocks["m"])


# Blocks of 256


def _scales_and_minima(blocks: Blocks) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scale and the minimum of each of the eight parts of a block, both [N 8 1].

    Twelve bytes hold them: those of the first four parts in the lower six bits of bytes 0 to 3 and 4 to 7; of the others the
    lower four bits in the halves of bytes 8 to 11, and the upper two in the upper bits of bytes 0 to 7.
    """
    first, second, third = blocks["scales"].reshape(-1, 3, 4).transpose(1, 0, 2)
    scales = np.concatenate([first & 63, third & 15 | (first >> 6) << 4], axis=1)
    minima = np.concatenate([second & 63, third >> 4 | (second >> 6) << 4], axis=1)
    return (_column(blocks["d"]) * scales)[:, :, None], (_column(blocks["m"]) * minima)[:, :, None]


def _q4_k(blocks: Blocks, out: Numbers) -> None:
    parts = out.reshape(-1, 8, 32)
    _halves(blocks["q"].reshape(-1, 32), out.reshape(-1, 64))
    scales, minima = _scales_and_minima(blocks)
    parts *= scales
    parts -= minima


def _q5_k(blocks: Blocks, out: Numbers) -> None:
    parts = out.reshape(-1, 8, 32)
    _halves(blocks["q"].reshape(-1, 32), out.reshape(-1, 64))
    for part in range(8):
        parts[:, part] += (blocks["h"] >> part & 1) << 4
    scales, minima = _scales_and_minima(blocks)
    parts *= scales
    parts -= minima


def _q6_k(blocks: Blocks, out: Numbers) -> None:
    parts = out.reshape(-1, 2, 4, 32)  # two halves, in each of which four parts share the bytes of the upper bits
    low, high = blocks["low"].reshape(-1, 2, 2, 32), blocks["high"].reshape(-1, 2, 32)
    for part in range(4):
        lower = low[:, :, part % 2] >> 4 if part >= 2 else low[:, :, part % 2] & 15
        parts[:, :, part] = lower | (high >> 2 * part & 3) << 4
    out -= 32
    out.reshape(-1, 16, 16)[...] *= (_column(blocks["d"]) * blocks["scales"])[:, :, None]


def _layout(*fields: tuple[str, str] | tuple[str, str, int]) -> np.dtype[Any]:
    return np.dtype(list(fields))


_D, _M = ("d", "<f2"), ("m", "<f2")  # the scale of a block, and its minimum

TYPES = {
    kind.number: kind
    for kind in (
        BlockType("F32", 0, 1, np.dtype("<f4"), _plain, _pack_f32),
        BlockType("F16", 1, 1, np.dtype("<f2"), _plain, _pack_f16),
        BlockType("Q4_0", 2, 32, _layout(_D, ("q", "u1", 16)), _q4_0),
        BlockType("Q4_1", 3, 32, _layout(_D, _M, ("q", "u1", 16)), _q4_1),
        BlockType("Q5_0", 6, 32, _layout(_D, ("h", "<u4"), ("q", "u1", 16)), _q5_0),
        BlockType("Q5_1", 7, 32, _layout(_D, _M, ("h", "<u4"), ("q", "u1", 16)), _q5_1),
        BlockType("Q8_0", 8, 32, _layout(_D, ("q", "i1", 32)), _q8_0, _pack_q8_0),
        BlockType("Q4_K", 12, 256, _layout(_D, _M, ("scales", "u1", 12), ("q", "u1", 128)), _q4_k),
        BlockType("Q5_K", 13, 256, _layout(_D, _M, ("scales", "u1", 12), ("h", "u1", 32), ("q", "u1", 128)), _q5_k),
        BlockType("Q6_K", 14, 256, _layout(("low", "u1", 128), ("high", "u1", 64), ("scales", "i1", 16), _D), _q6_k),
        BlockType("BF16", 30, 1, np.dtype("<u2"), _bfloat16),
    )
}
BY_NAME = {kind.name: kind for kind in TYPES.values()}

UNREAD = {  # the names of the other numbers, for what is said about a file
    **{9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S"},
    **{20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64"},
    **{29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4"},
}
