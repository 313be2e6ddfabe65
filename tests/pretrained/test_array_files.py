import json
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numformer import InputError
from numformer.pretrained.array_files import MAX_HEADER, ArrayFile, read_safetensors, write_safetensors
from numformer.pretrained.floats import from_bfloat16, to_bfloat16


def written(path, entries, data=b"", metadata=None, length=None):
    """Write a file with a header of any content before some bytes."""
    header = entries if isinstance(entries, bytes) else json.dumps({**(metadata or {}), **entries}).encode()
    size = len(header) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + header + data)
    return path


def entry(kind="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}


EIGHT = b"\0" * 8
MALFORMED = {
    "empty": (b"", b"", None, "no JSON|Expecting value|cannot mmap"),
    "a header of an absurd size": (
        b"{}",
        b"",
        1 << 62,
        "header would be 4611686018427387904 bytes long, and the file has",
    ),
    "a header longer than the file": (b"{}", b"", 3, "header would be 3 bytes long"),
    "no JSON": (b"{", b"", None, "damaged"),
    "a list": (b"[]", b"", None, "no JSON object"),
    "a deep header": (b"[" * 50_000, b"", None, "damaged"),
    "a number of five thousand digits": (b'{"a": ' + b"1" * 5000 + b"}", b"", None, "damaged"),
    "metadata that are no texts": ({"__metadata__": {"a": 1}}, b"", None, "metadata are no texts"),
    "an entry that is a number": ({"a": 3}, EIGHT, None, "entry of 'a' in its header is not understood"),
    "an entry without a shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT, None, "not understood"),
    "a negative size": ({"a": entry(shape=(-2,))}, EIGHT, None, "not understood"),
    "a size that is no number": ({"a": entry(shape=("2",))}, EIGHT, None, "not understood"),
    "a size that is true": ({"a": entry(shape=(True, 2))}, EIGHT, None, "not understood"),
    "an absurd size": (
        {"a": entry(shape=(1 << 40, 1 << 40))},
        EIGHT,
        None,
        "'a' has 8 bytes, which are not those of F32",
    ),
    "a thousand axes": ({"a": entry(shape=[1] * 1000)}, EIGHT, None, "not understood"),
    "a shape that is not that of the bytes": ({"a": entry(shape=(3,))}, EIGHT, None, "which are not those of F32"),
    "offsets backwards": ({"a": entry(offsets=(8, 0))}, EIGHT, None, "which are not those of F32"),
    "offsets behind the end": ({"a": entry(offsets=(8, 16))}, EIGHT, None, "leaves a gap after 'the header'"),
    "arrays that overlap": (
        {"a": entry(), "b": entry(offsets=(4, 12))},
        b"\0" * 12,
        None,
        "'b' overlaps 'a'",
    ),
    "arrays in the same place": ({"a": entry(), "b": entry()}, EIGHT, None, "'b' overlaps 'a'"),
    "a gap between arrays": (
        {"a": entry(), "b": entry(offsets=(12, 20))},
        b"\0" * 20,
        None,
        "'b' leaves a gap after 'a'",
    ),
    "too few bytes": ({"a": entry()}, b"\0" * 7, None, "its arrays take 8 bytes, and it has 7"),
    "too many bytes": ({"a": entry()}, b"\0" * 9, None, "its arrays take 8 bytes, and it has 9"),
    "a type that is not read": (
        {"a": entry("F8_E4M3", (8,))},
        EIGHT,
        None,
        "'a' is of the type 'F8_E4M3'; read are F64",
    ),
    "a name that comes twice": (b'{"a": 1, "a": 1}', b"", None, "a name comes twice"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_refused_in_one_short_sentence(tmp_path, name):
    entries, data, length, message = MALFORMED[name]
    path = written(tmp_path / "model.safetensors", entries, data, length=length)
    with pytest.raises(InputError, match=message) as caught:
        ArrayFile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_a_large_header_is_not_read_at_all(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER + 100)
    tracemalloc.start()
    with pytest.raises(InputError, match=f"at most {MAX_HEADER} are read"):
        ArrayFile(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_the_library_writes_is_read_by_the_same_values(tmp_path):
    arrays = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "numbers": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 2, 2),
        "wide": np.array(1.5),
        "ids": np.arange(3),
        "flags": np.array([True, False]),
        "nothing": np.zeros((0, 4), np.float32),
    }
    save_file(arrays, tmp_path / "model.safetensors", {"format": "pt"})
    found, metadata = read_safetensors(tmp_path / "model.safetensors")
    assert metadata == {"format": "pt"}
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)


def test_arrays_that_are_not_aligned_are_read_all_the_same(tmp_path):
    values = np.array([1.0, -2.0], "<f4")
    entries = {"flag": entry("BOOL", (1,), (0, 1)), "values": entry("F32", (2,), (1, 9))}
    path = written(tmp_path / "file.safetensors", entries, b"\1" + values.tobytes())
    found, _ = read_safetensors(path)
    np.testing.assert_array_equal(found["values"], values)
    assert found["values"].flags.aligned


def test_what_is_written_to_a_mapped_array_never_reaches_the_file(tmp_path):
    path = tmp_path / "file.safetensors"
    write_safetensors(path, {"a": np.ones(4000, np.float32)}, {})
    before = path.read_bytes()
    array = read_safetensors(path)[0]["a"]
    array *= 2.0
    assert path.read_bytes() == before
    np.testing.assert_array_equal(array, 2.0)
    np.testing.assert_array_equal(read_safetensors(path)[0]["a"], 1.0)


def test_a_file_may_be_replaced_while_its_arrays_are_in_use(tmp_path):
    path = tmp_path / "file.safetensors"
    write_safetensors(path, {"a": np.ones(4000, np.float32)}, {})
    array = read_safetensors(path)[0]["a"]
    write_safetensors(path, {"a": np.zeros(4000, np.float32)}, {})
    np.testing.assert_array_equal(array, 1.0)


# Numbers of two bytes

BFLOAT16 = {  # by hand: bits 0 01111111 0000000 are 1, one more in the last place is 2**-7
    1.0: 0x3F80,
    -2.0: 0xC000,
    1.0 + 2**-8: 0x3F80,  # half way: to the even one
    1.0 + 3 * 2**-8: 0x3F82,
    1.0 + 2**-8 + 2**-20: 0x3F81,
    0.0: 0x0000,
    float("inf"): 0x7F80,
    3.4028235e38: 0x7F80,  # the largest float32 is nearer to infinity
    2.0**-133: 0x0001,
}


@pytest.mark.parametrize(("number", "bits"), BFLOAT16.items())
def test_a_float32_becomes_the_nearest_bfloat16(number, bits):
    with np.errstate(over="ignore"):
        assert to_bfloat16(np.array([number], np.float32)).tolist() == [bits]


def test_every_bfloat16_comes_back_as_it_was():
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide = from_bfloat16(bits)
    numbers = ~np.isnan(wide)
    np.testing.assert_array_equal(to_bfloat16(wide)[numbers], bits[numbers])
    assert np.isnan(from_bfloat16(to_bfloat16(wide[~numbers]))).all()


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_weights_are_saved_in_two_bytes_and_read_as_float32(tmp_path, dtype, step):
    values = np.random.default_rng(0).standard_normal((5, 7), dtype=np.float32)
    write_safetensors(tmp_path / "file.safetensors", {"a": values, "ids": np.arange(3)}, {}, dtype)
    file = ArrayFile(tmp_path / "file.safetensors")
    file.check()
    assert file.places["a"].stop - file.places["a"].start == 2 * values.size
    np.testing.assert_allclose(file.read("a").astype(np.float32), values, rtol=step)
    np.testing.assert_array_equal(file.read("ids"), np.arange(3))
    if dtype == "float16":
        np.testing.assert_array_equal(load_file(tmp_path / "file.safetensors")["a"], values.astype(np.float16))


@pytest.mark.parametrize(("dtype", "number"), [("float16", 70_000.0), ("bfloat16", 3.4e38)])
def test_a_number_that_is_too_large_for_two_bytes_is_named_and_nothing_is_written(tmp_path, dtype, number):
    path = tmp_path / "file.safetensors"
    write_safetensors(path, {"a": np.ones(2, np.float32)}, {})
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"big holds .* too large for {dtype}: save it as float32"):
        write_safetensors(path, {"big": np.array([1.0, number], np.float32)}, {}, dtype)
    assert path.read_bytes() == before
