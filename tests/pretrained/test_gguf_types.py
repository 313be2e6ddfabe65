import gguf
import numpy as np
import pytest

from numformer import InputError
from numformer.pretrained.gguf_types import BY_NAME, TYPES, dequantise, quantise

every_type = pytest.mark.parametrize("kind", TYPES.values(), ids=[kind.name for kind in TYPES.values()])
written = pytest.mark.parametrize("name", ["F32", "F16", "Q8_0"])


def random_blocks(kind, count, seed=0):
    """Return blocks of random bits, whose scales, or the numbers themselves, are finite."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, count * kind.layout.itemsize, dtype=np.uint8).view(kind.layout)
    if kind.name == "BF16":
        blocks[:] = rng.standard_normal(count).astype(np.float32).view(np.uint32) >> 16
    elif kind.size == 1:
        blocks[:] = rng.standard_normal(count)
    for field in {"d", "m"} & set(kind.layout.names or ()):
        blocks[field] = rng.standard_normal(count)
    return blocks


def empty(*shape):
    return np.empty(shape, np.float32)


@every_type
def test_every_type_is_turned_into_the_numbers_of_the_reference(kind):
    blocks = random_blocks(kind, 6 * 1024)
    found = dequantise(blocks, kind, empty(6, 1024 * kind.size))
    expected = gguf.dequantize(blocks.view(np.uint8).reshape(6, -1), gguf.GGMLQuantizationType[kind.name])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@every_type
def test_numbers_of_the_types_are_those_of_the_format(kind):
    number = gguf.GGMLQuantizationType[kind.name]
    assert (kind.number, kind.size, kind.layout.itemsize) == (number, *gguf.GGML_QUANT_SIZES[number])


@every_type
def test_more_numbers_than_are_worked_on_at_once_come_out_alike(kind):
    blocks = random_blocks(kind, (1 << 18) // kind.size + 3)
    whole = dequantise(blocks, kind, empty(len(blocks) * kind.size))
    last = dequantise(blocks[-3:], kind, empty(3 * kind.size))
    np.testing.assert_array_equal(whole[-3 * kind.size :], last)


@pytest.mark.parametrize("name", ["F32", "F16"])
def test_written_numbers_are_those_of_the_reference(name):
    array = np.random.default_rng(1).standard_normal((40, 96)).astype(np.float32) * 3
    expected = gguf.quantize(array, gguf.GGMLQuantizationType[name])
    assert quantise(array, BY_NAME[name]).tobytes() == expected.tobytes()


def test_q8_0_is_as_near_as_the_scale_allows_and_nearer_than_the_reference():
    array = np.random.default_rng(1).standard_normal((400, 96)).astype(np.float32) * 3
    array[3, :32] = 0.0
    kind, number = BY_NAME["Q8_0"], gguf.GGMLQuantizationType.Q8_0
    blocks, theirs = quantise(array, kind), gguf.quantize(array, number)
    np.testing.assert_array_equal(blocks["d"], theirs.reshape(-1).view(kind.layout)["d"])
    error = np.abs(dequantise(blocks, kind, empty(*array.shape)) - array)
    assert (error.reshape(-1, 32) <= blocks["d"].astype(np.float32)[:, None] * 0.57).all()  # the largest may be 127.06
    assert np.square(error).sum() < np.square(gguf.dequantize(theirs, number) - array).sum()


def test_q8_0_of_whole_numbers_is_exact():
    array = np.array([[127.0, 5.0, -127.0, -1.0] + [0.0] * 28], np.float32)
    np.testing.assert_array_equal(dequantise(quantise(array, BY_NAME["Q8_0"]), BY_NAME["Q8_0"], empty(1, 32)), array)


def test_numbers_too_small_for_a_scale_become_zero():
    blocks = quantise(np.full((1, 32), 1e-44, np.float32), BY_NAME["Q8_0"])
    assert not dequantise(blocks, BY_NAME["Q8_0"], empty(32)).any()


@every_type
def test_numbers_that_are_not_finite_are_refused(kind):
    blocks = random_blocks(kind, 5)
    if kind.layout.names:
        blocks["d"][3] = np.nan
    else:
        blocks[3] = 0x7F80 if kind.name == "BF16" else np.inf
    with pytest.raises(InputError, match="not finite"):
        dequantise(blocks, kind, empty(5 * kind.size))


@pytest.mark.parametrize(("name", "value"), [("F16", 1e6), ("Q8_0", 1e8)])
def test_numbers_too_large_for_float16_are_not_written(name, value):
    with pytest.raises(InputError, match="too large for float16"):
        quantise(np.full((1, 32), value, np.float32), BY_NAME[name])


@written
def test_numbers_that_are_not_finite_are_not_written(name):
    with pytest.raises(InputError, match="not finite"):
        quantise(np.full((1, 32), np.nan, np.float32), BY_NAME[name])
