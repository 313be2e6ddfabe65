"""Arrays that do not fit: one sentence naming the op, the argument and the sizes."""

import numpy as np
import pytest

from numformer import InputError, Tensor, ops


def ones(*shape):
    return np.ones(shape, np.float32)


FOUR = ones(2, 3, 5, 4)  # B=2, H=3, T=5, K=4

CASES = {
    "linear: D is 3 in x but 5 in weight of shape [4 5]": lambda: ops.linear(ones(2, 3), ones(4, 5)),
    "linear: F is 4 in weight but 6 in bias of shape [6]": lambda: ops.linear(ones(2, 3), ones(4, 3), ones(6)),
    "linear: weight has shape [3], expected axes [F D]": lambda: ops.linear(ones(2, 3), ones(3)),
    "layer_norm: D is 3 in x but 4 in weight": lambda: ops.layer_norm(ones(2, 3), ones(4), ones(4)),
    "rms_norm: D is 3 in x but 4 in weight": lambda: ops.rms_norm(ones(2, 3), ones(4)),
    "matmul: K is 3 in x but 4 in y": lambda: ops.matmul(ones(2, 3), ones(4, 5)),
    "attention: K is 4 in q but 6 in k": lambda: ops.attention(FOUR, ones(2, 3, 5, 6), ones(2, 3, 5, 6)),
    "attention: S is 5 in k but 7 in v": lambda: ops.attention(FOUR, FOUR, ones(2, 3, 7, 4)),
    "attention: S is 5 in k but 6 in mask": lambda: ops.attention(FOUR, FOUR, FOUR, np.ones((2, 1, 5, 6), bool)),
    "attention: mask has shape [5 5], expected axes [B H T S]": lambda: ops.attention(
        FOUR, FOUR, FOUR, np.ones((5, 5), bool)
    ),
    "attention: mask must be boolean (True = attend), got float32": lambda: ops.attention(
        FOUR, FOUR, FOUR, ones(2, 1, 5, 5)
    ),
    "cross_entropy: N is 4 in logits but 3 in targets": lambda: ops.cross_entropy(ones(4, 7), np.zeros(3, int)),
    "cross_entropy: targets must hold integers, got float32": lambda: ops.cross_entropy(ones(4, 7), ones(4)),
    "cross_entropy: logits has shape [2 4 7], expected axes [N V]": lambda: ops.cross_entropy(
        ones(2, 4, 7), np.zeros((2, 4), int)
    ),
    "rope: T is 5 in x but 6 in positions": lambda: ops.rope(FOUR, np.zeros((2, 6), int)),
    "add: ": lambda: Tensor(ones(2, 3)) + ones(4, 5),
    "where: ": lambda: ops.where(np.ones(2, bool), ones(3), 0.0),
    "concat: ": lambda: ops.concat(ones(2, 3), ones(4, 5), axis=0),
    "split: ": lambda: ops.split(ones(2, 5), sections=2),
    "split_heads: ": lambda: ops.split_heads(ones(2, 3, 5), num_heads=2),
    "reshape: 6 elements of shape (2, 3) do not fit the shape (4, -1)": lambda: Tensor(ones(2, 3)).reshape(4, -1),
    "transpose: ": lambda: Tensor(ones(2, 3)).permute(0, 0),
}


@pytest.mark.parametrize("message", CASES)
def test_the_message_names_op_argument_and_sizes(message):
    with pytest.raises(InputError) as raised:
        CASES[message]()
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_shape_is_checked_again_after_another_one_passed():
    ops.linear(ones(2, 3), ones(4, 3))
    with pytest.raises(InputError, match="linear"):
        ops.linear(ones(2, 3), ones(4, 5))
