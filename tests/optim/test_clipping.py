import numpy as np
import pytest

from numformer import InputError, Parameter
from numformer.optim import clip_grad_norm


@pytest.mark.parametrize("max_norm", [-1.0, float("nan"), "a"])
def test_a_limit_that_is_no_length_is_refused_and_changes_nothing(max_norm):
    parameter = Parameter(np.ones(3, np.float32))
    parameter.grad = np.full(3, 5.0, np.float32)
    with pytest.raises(InputError, match="max_norm must be a number of at least 0"):
        clip_grad_norm([parameter], max_norm)
    np.testing.assert_array_equal(parameter.grad, 5.0)
