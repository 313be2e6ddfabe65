import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.testing import check_gradients


def test_rotation_keeps_lengths_and_scores_depend_on_distance_only():
    q, k = np.random.default_rng(0).standard_normal((2, 1, 1, 1, 8))

    def score(m, n):
        return np.vdot(ops.rope(q, np.array([m])), ops.rope(k, np.array([n])))

    assert np.linalg.norm(ops.rope(q, np.array([70]))) == pytest.approx(np.linalg.norm(q))
    assert score(5, 2) == pytest.approx(score(203, 200))
    assert score(5, 2) != pytest.approx(score(5, 3))


def test_an_odd_head_width_cannot_be_rotated():
    with pytest.raises(InputError, match="rope: the head width must be even, got 3"):
        ops.rope(np.ones((1, 1, 2, 3)), np.arange(2))


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoidal_positions_alternate_sine_and_cosine(width):
    table = ops.sinusoidal_positions(100, width)
    assert table.shape == (100, width)
    assert table.dtype == np.float32
    for column in range(width):
        angle = np.arange(100) / 10000.0 ** (2 * (column // 2) / (width + width % 2))
        np.testing.assert_allclose(table[:, column], (np.sin, np.cos)[column % 2](angle), atol=1e-6)


def rotated(x, positions, theta=10000.0):
    """Rotate as complex numbers: the pair (i, i + K/2) is one, multiplied by e to the angle."""
    half = x.shape[-1] // 2
    angles = np.asarray(positions)[..., None] * theta ** (-np.arange(half) / half)
    angles = angles[:, None] if angles.ndim == 3 else angles
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=-1)


@pytest.mark.parametrize("positions", [[0, 1, 2], [5, 5, 0], [70, 3, 64], [[0, 1, 2], [63, 64, 65]]], ids=str)
@pytest.mark.parametrize("theta", [10000.0, 500.0])
def test_rotation_is_that_of_complex_numbers(positions, theta):
    x = np.random.default_rng(0).standard_normal((2, 4, 3, 6))
    np.testing.assert_allclose(
        ops.rope(x, np.array(positions), theta=theta), rotated(x, positions, theta), rtol=1e-12, atol=1e-13
    )
    check_gradients(lambda x: ops.rope(x, np.array(positions), theta=theta), x)


@pytest.mark.parametrize("positions", [[-1, 0], [0, -3]])
@pytest.mark.parametrize("rows", [False, True])
def test_a_negative_position_is_named(positions, rows):
    given = np.array([positions] if rows else positions)
    with pytest.raises(InputError, match=f"^rope: a position must be at least 0, got {min(positions)}$"):
        ops.rope(np.ones((1, 1, 2, 4)), given)


def test_no_positions_rotate_nothing():
    assert ops.rope(np.ones((1, 1, 0, 4)), np.zeros(0, int)).shape == (1, 1, 0, 4)


def test_far_positions_keep_the_accuracy_of_float32():
    x = np.random.default_rng(0).standard_normal((1, 1, 1, 8)).astype(np.float32)
    np.testing.assert_allclose(ops.rope(x, np.array([30_000])), rotated(x, [30_000]), atol=1e-6)


def test_the_gradient_is_turned_back():
    x = Tensor(np.random.default_rng(0).standard_normal((1, 2, 3, 4)), requires_grad=True)
    y = ops.rope(x, np.array([3, 70, 9]))
    np.testing.assert_allclose(gradients(y, [x], y.data)[0], x.data, atol=1e-13)


def test_frequencies_take_the_place_of_the_powers_of_theta():
    x, positions = np.random.default_rng(0).standard_normal((1, 2, 3, 6)), np.array([3, 70, 9])
    frequencies = ops.rope_frequencies(6, 500.0)
    assert frequencies == pytest.approx([1.0, 500.0 ** (-1 / 3), 500.0 ** (-2 / 3)])
    expected = ops.rope(x, positions, theta=500.0)
    np.testing.assert_array_equal(ops.rope(x, positions, frequencies=frequencies), expected)
    halves = ops.rope(x, positions, frequencies=tuple(f / 2 for f in frequencies))
    np.testing.assert_allclose(halves, rotated(x, positions / 2, 500.0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("width", [6, 7])
def test_with_fewer_frequencies_the_rest_of_a_head_stays(width):
    x, positions = np.random.default_rng(0).standard_normal((1, 2, 3, width)), np.array([3, 70, 9])
    y = ops.rope(x, positions, frequencies=ops.rope_frequencies(4, 500.0))
    np.testing.assert_allclose(y[..., :4], rotated(x[..., :4], positions, 500.0), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(y[..., 4:], x[..., 4:])


def test_more_frequencies_than_pairs_are_refused():
    with pytest.raises(InputError, match="rope: 3 frequencies are too many for a head of width 4"):
        ops.rope(np.ones((1, 1, 2, 4)), np.arange(2), frequencies=(1.0, 0.5, 0.1))


# Buckets of distances


def test_near_distances_have_buckets_of_their_own_and_far_ones_share_them():
    distances = np.array([[0, -1, -3, -4, -5, -8, -11, -12, -500, 3]])
    found = ops.relative_buckets(distances, 8, 12, both_ways=False)
    assert found.tolist() == [[0, 1, 3, 4, 4, 6, 7, 7, 7, 0]]


def test_keys_after_the_query_have_the_second_half_of_the_buckets():
    distances = np.array([0, -1, -2, -100, 1, 2, 100])
    assert ops.relative_buckets(distances, 8, 12, both_ways=True).tolist() == [0, 1, 2, 3, 5, 6, 7]


def test_a_lone_position_below_zero_is_refused_too():
    with pytest.raises(InputError, match="a position must be at least 0, got -1"):
        ops.rope(np.ones((1, 1, 1, 4)), np.array([[-1]]))
