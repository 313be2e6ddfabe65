import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops

TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 0.0, -1.0]], np.float32)


@pytest.mark.parametrize(
    ("op", "axis", "expected"),
    [
        (ops.max, None, [[0, 0.5, 0.5], [0, 0, 0], [0, 0, 0]]),
        (ops.max, 1, [[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]]),
        (ops.min, None, [[0, 0, 0], [0, 0, 0], [0, 0, 1]]),
        (ops.min, 0, [[0, 0, 0], [0, 0, 0], [1, 1, 1]]),
        (ops.min, (0, 1), [[0, 0, 0], [0, 0, 0], [0, 0, 1]]),
    ],
)
def test_equal_elements_share_the_gradient_evenly(op, axis, expected):
    x = Tensor(TIES, requires_grad=True)
    (found,) = gradients(op(x, axis=axis).sum(), [x])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("op", [ops.max, ops.min])
def test_whole_numbers_stay_whole(op):
    assert op(np.array([3, 1, 2])).dtype == np.int64


@pytest.mark.parametrize("op", [ops.max, ops.min])
def test_nothing_has_no_extreme(op):
    with pytest.raises(InputError, match=f"{op.name}: zero-size array"):
        op(np.zeros((2, 0)))
