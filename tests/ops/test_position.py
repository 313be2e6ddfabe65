import numpy as np
import pytest

from numformer import InputError, ops


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
