"""Files of vectors: whole or not there, and refused where they are no such file."""

import numpy as np
import pytest

from numformer import InputError
from numformer.data.vectors import cosines, read_vectors, writing_vectors

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_vectors_that_are_written_one_by_one_are_an_array_of_numpy(tmp_path, count):
    with writing_vectors(tmp_path / "x.npy", 3) as write:
        for vector in VECTORS[:count]:
            write(vector)
    found = np.load(tmp_path / "x.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VECTORS[:count])
    np.testing.assert_array_equal(read_vectors(tmp_path / "x.npy", count, 3), VECTORS[:count])


def test_the_header_has_room_for_any_number_of_vectors(tmp_path):
    with writing_vectors(tmp_path / "x.npy", 1) as write:
        for _ in range(12_345):
            write(np.ones(1))
    assert np.load(tmp_path / "x.npy").shape == (12_345, 1)


def interrupted(vectors):
    yield vectors[0]
    raise KeyboardInterrupt


def test_an_interrupted_file_leaves_what_was_there(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), writing_vectors(tmp_path / "x.npy", 3) as write:
        list(map(write, interrupted(VECTORS)))
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    assert (tmp_path / "x.npy").read_bytes() == b"before"


def write_text(path):
    path.write_text("a text")


def write_short(path):
    np.save(path, VECTORS)
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no"),
        (write_text, "cannot be read as an array of NumPy"),
        (lambda path: path.write_bytes(b""), "cannot be read as an array of NumPy"),
        (write_short, "cannot be read as an array of NumPy"),
        (lambda path: np.save(path, np.array([{}, None] * 6).reshape(4, 3)), "cannot be read as an array of NumPy"),
        (
            lambda path: np.save(path, VECTORS[:2]),
            r"4 texts are float32 \[4, 3\] with this model, got float32 \[2, 3\]",
        ),
        (lambda path: np.save(path, VECTORS.astype(int)), r"got int64 \[4, 3\]"),
    ],
)
def test_what_holds_no_such_vectors_is_refused_with_its_name(tmp_path, make, message):
    make(tmp_path / "x.npy")
    with pytest.raises(InputError, match=rf"x\.npy.*{message}|{message}.*x\.npy"):
        read_vectors(tmp_path / "x.npy", 4, 3)


def test_the_cosine_of_a_vector_of_length_0_is_0():
    assert cosines(np.array([0.0, 2.0]), np.array([[0.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, -1.0]])).tolist() == [
        0.0,
        1.0,
        0.0,
        pytest.approx(-(0.5**0.5)),
    ]
