import struct
import warnings

import gguf
import numpy as np
import pytest

from numformer import InputError
from numformer.pretrained.gguf_file import GGUFFile


def text(content):
    return struct.pack("<Q", len(content)) + content


def entry(key, kind, content):
    return text(key) + struct.pack("<I", kind) + content


def tensor(name, shape=(4,), kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def container(entries=(), tensors=(), data=b"", magic=b"GGUF", version=3, num_tensors=None, num_entries=None):
    """Return the bytes of a file with these parts, whatever they say."""
    counts = len(tensors) if num_tensors is None else num_tensors, len(entries) if num_entries is None else num_entries
    content = magic + struct.pack("<IQQ", version, *counts) + b"".join(entries) + b"".join(tensors)
    return content + bytes(-len(content) % 32) + data


FULL = container([entry(b"a", 8, text(b"b"))], [tensor(b"t", (4,)), tensor(b"u", (4,), 0, 32)], bytes(48))
BAD = {
    "empty": (b"", "cannot be read"),
    "no GGUF file": (container(magic=b"GGML"), "begins with b'GGML', expected b'GGUF'"),
    "a zip file": (b"PK\3\4" + bytes(40), "not a GGUF file"),
    "version 1": (container(version=1), "version is 1, supported are 2 and 3"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "absurd number of tensors": (container(num_tensors=1 << 60), "cut short or damaged: 1152921504606846976 tensors"),
    "absurd number of entries": (container(num_entries=1 << 60), "cut short or damaged"),
    "absurd text": (container([text(b"a") + struct.pack("<IQ", 8, 1 << 62)]), "a would take 4611686018427387904 bytes"),
    "absurd list of texts": (
        container([entry(b"a", 9, struct.pack("<IQ", 8, 1 << 60))]),
        "1152921504606846976 texts of a",
    ),
    "absurd list of numbers": (container([entry(b"a", 9, struct.pack("<IQ", 12, 1 << 60))]), "a would take"),
    "list of lists": (container([entry(b"a", 9, struct.pack("<IQ", 9, 1))]), "a of kind 9, which is not read"),
    "unknown kind": (container([entry(b"a", 99, b"")]), "a of kind 99"),
    "key twice": (container([entry(b"a", 7, b"\1")] * 2), "the metadata has a twice"),
    "key of several lines": (container([entry(b"a\nb", 7, b"\1")]), r"the key of metadata entry 1 is 'a\\nb'"),
    "name of many letters": (container((), [tensor(b"t" * 10**5)], bytes(99)), "the name of tensor 1 is 'tttt"),
    "text that is not UTF-8": (container([entry(b"a", 8, text(b"\xff"))]), "a is not valid UTF-8"),
    "alignment of 0": (container([entry(b"general.alignment", 4, bytes(4))]), "power of two, got 0"),
    "alignment of 12": (container([entry(b"general.alignment", 4, struct.pack("<I", 12))]), "power of two, got 12"),
    "alignment in words": (
        container([entry(b"general.alignment", 8, text(b"x"))]),
        "a text as general.alignment, expected a whole number",
    ),
    "tensor twice": (container((), [tensor(b"t"), tensor(b"t")], bytes(99)), "the tensor t is there twice"),
    "no dimensions": (container((), [tensor(b"t", ())], bytes(99)), "t has 0 dimensions"),
    "five dimensions": (container((), [tensor(b"t", (1,) * 5)], bytes(99)), "t has 5 dimensions, expected 1 to 4"),
    "no rows": (container((), [tensor(b"t", (4, 0))], bytes(99)), r"shape \[0, 4\]"),
    "absurd shape": (container((), [tensor(b"t", (1 << 62, 1 << 62))], bytes(99)), "t ends at byte"),
    "half a block": (
        container((), [tensor(b"t", (48,), 8)], bytes(99)),
        r"shape \[48\], which is not made of blocks of 32 \(Q8_0\)",
    ),
    "type that is not read": (
        container((), [tensor(b"t", (256,), 10)], bytes(99)),
        "tensor t is of type Q2_K.*supported are F32, F16, Q4_0",
    ),
    "type that is not known": (container((), [tensor(b"t", (256,), 77)], bytes(99)), "tensor t is of type 77"),
    "absurd offset": (container((), [tensor(b"t", offset=1 << 62)], bytes(99)), "t ends at byte .* the file at"),
    "crooked offset": (
        container((), [tensor(b"t", offset=4)], bytes(99)),
        "t begins at 4, which is not a multiple of 32",
    ),
    "overlap": (container((), [tensor(b"t", (32,)), tensor(b"u", offset=64)], bytes(256)), "tensors t and u overlap"),
}


def opened(tmp_path, content):
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    return GGUFFile(path)


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_damaged_file_is_refused_in_one_line_and_little_memory(content, message, tmp_path, measure_bytes):
    def attempt():
        with pytest.raises(InputError, match=message) as caught:
            opened(tmp_path, content)
        assert "\n" not in str(caught.value)

    assert measure_bytes(attempt)[2] < 1_000_000


@pytest.mark.parametrize("length", range(len(FULL)))
def test_a_file_cut_anywhere_is_refused(length, tmp_path):
    assert opened(tmp_path, FULL).metadata == {"a": "b"}
    with pytest.raises(InputError, match=r"cut short|cannot be read"):
        opened(tmp_path, FULL[:length])


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        GGUFFile(tmp_path / "none.gguf")
    with pytest.raises(InputError, match="Is a directory"):
        GGUFFile(tmp_path)


def test_metadata_and_tensors_are_those_that_the_reference_reads(llama_file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = gguf.GGUFReader(llama_file)
    file = GGUFFile(llama_file)
    fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    found = {
        key: value.tolist()
        if isinstance(value, np.ndarray)
        else np.float32(value)
        if isinstance(value, float)
        else value
        for key, value in file.metadata.items()
    }
    assert found == fields
    assert file.tensors.keys() == {each.name for each in reader.tensors}
    for each in reader.tensors:
        np.testing.assert_array_equal(file.read(each.name), each.data)


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_are_read(version, tmp_path):
    data = np.arange(4, dtype="<f4").tobytes()
    file = opened(tmp_path, container((), [tensor(b"t")], data, version=version))
    assert file.read("t").tolist() == [0, 1, 2, 3]


def test_tensors_lie_where_the_alignment_of_the_file_says(tmp_path):
    entries, wide = [entry(b"general.alignment", 4, struct.pack("<I", 128))], np.arange(8, dtype="<f4")
    content = container(entries, [tensor(b"t"), tensor(b"u", offset=128)])
    content += bytes(-len(content) % 128) + wide[:4].tobytes() + bytes(112) + wide[4:].tobytes()
    file = opened(tmp_path, content)
    assert [file.read(name).tolist() for name in "tu"] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_shapes_are_in_the_order_of_numpy(tmp_path):
    content = container((), [tensor(b"t", (3, 2))], np.arange(6, dtype="<f4").tobytes())
    assert opened(tmp_path, content).read("t").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_number_of_32_bits_is_read_as_the_decimal_that_was_meant(tmp_path):
    file = opened(tmp_path, container([entry(b"a", 6, struct.pack("<f", 1e-5))]))
    assert file.metadata["a"] == 1e-5


def test_a_tensor_with_numbers_that_are_not_finite_is_named(tmp_path):
    file = opened(tmp_path, container((), [tensor(b"t")], np.full(4, np.nan, "<f4").tobytes()))
    with pytest.raises(InputError, match=r"the tensor t holds numbers that are not finite \(NaN or infinity\)"):
        file.read("t")
