"""The shape line: what it says, and what it says about arrays that do not fit."""

import numpy as np
import pytest

from numformer import InputError
from numformer.autograd import Op
from numformer.autograd.shapes import Argument, parse_shape_lines


def make_op(*lines):
    def my_op(*xs):
        return xs[0] * 1.0, lambda dy: (dy, *[None] * (len(xs) - 1))

    my_op.__doc__ = "Do something.\n\n" + "\n".join(f"    {line}" for line in lines)
    return Op(my_op)


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def problem(made, *arrays):
    with pytest.raises(InputError) as raised:
        made(*arrays)
    return str(raised.value)


def test_a_line_is_read_part_by_part():
    (line,) = parse_shape_lines("""Do.

    q [B H T K], ids [B T] < V, mask [B H T S] bool, bias [B 1] or 1 -> [B T+S D], [] with causal=True, key=(1, 2).
    No line -> at all
    """)
    assert line.arguments == (
        Argument("q", ("B", "H", "T", "K")),
        Argument("ids", ("B", "T"), below="V"),
        Argument("mask", ("B", "H", "T", "S"), boolean=True, may_be_one=True),
        Argument("bias", ("B", "1"), may_be_one=True),
    )
    assert line.results == (("B", "T+S", "D"), ())
    assert line.settings == "causal=True, key=(1, 2)"


def test_one_letter_is_one_length_in_all_arguments():
    made = make_op("x [B T], y [T D] -> [B D]")
    made(ones(2, 3), ones(3, 4))
    assert problem(made, ones(2, 3), ones(4, 4)) == (
        "my_op: T is 3 in x but 4 in y of shape [4 4] (expected x [B T], y [T D] -> [B D])"
    )
    assert problem(make_op("x [T T] -> [T]"), ones(2, 3)).startswith("my_op: T is 2 in x but 3 in x")


def test_a_number_is_that_length():
    made = make_op("x [B 2] -> [B]")
    made(ones(5, 2))
    assert problem(made, ones(5, 3)).startswith("my_op: x has shape [5 3], expected axes [B 2]")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3)])
def test_dots_are_any_leading_axes(shape):
    made = make_op("x [... D], y [D] -> [... D]")
    made(ones(*shape), ones(3))
    assert problem(made, ones(*shape), ones(4)).startswith("my_op: D is 3 in x but 4 in y")
    two = make_op("x [... T D] -> [... D]")
    if len(shape) == 1:
        assert problem(two, ones(*shape)).startswith("my_op: x has shape [3], expected axes [... T D]")
    else:
        two(ones(*shape))


@pytest.mark.parametrize("kind", ["bool", "or 1"])
def test_masks_and_biases_may_be_1_along_any_axis(kind):
    dtype = bool if kind == "bool" else np.float32
    made = make_op(f"x [B T], y [B T] {kind} -> [B T]")
    for shape in ((2, 3), (1, 3), (2, 1), (1, 1)):
        made(ones(2, 3), ones(*shape, dtype=dtype))
    assert problem(made, ones(2, 3), ones(2, 4, dtype=dtype)).startswith("my_op: T is 3 in x but 4 in y")
    assert problem(make_op("x [B T], y [B T] -> [B T]"), ones(2, 3), ones(1, 3)).startswith("my_op: B is 2 in x but 1")


def test_integers_and_masks_are_told_apart():
    made = make_op("ids [T] < V, mask [T] bool -> [T]")
    made(ones(3, dtype=np.int32), ones(3, dtype=bool))
    made(ones(3, dtype=np.uint8), ones(3, dtype=bool))
    assert problem(made, ones(3), ones(3, dtype=bool)).startswith("my_op: ids must hold integers, got float32")
    assert problem(made, ones(3, dtype=bool), ones(3, dtype=bool)).startswith("my_op: ids must hold integers, got bool")
    assert problem(made, ones(3, dtype=int), ones(3, dtype=int)).startswith(
        "my_op: mask must be boolean (True = attend)"
    )


def test_lines_are_alternatives_and_the_first_speaks_for_all():
    made = make_op("x [B T] -> [B T]", "x [B T D] -> [B D]")
    made(ones(2, 3))
    made(ones(2, 3, 4))
    assert problem(made, ones(2)).startswith("my_op: x has shape [2], expected axes [B T]")


def test_a_line_with_fewer_arguments_does_not_let_the_others_pass():
    made = make_op("x [B T] -> [B T]", "x [B T D], y [D] -> [B D]")
    made(ones(2, 3, 4), ones(4))
    assert problem(made, ones(2, 3), ones(3)).startswith("my_op: x has shape [2 3], expected axes [B T D]")
    made(ones(2, 3), None)  # left out


def test_more_arguments_than_any_line_has_are_checked_as_far_as_it_goes():
    made = make_op("x [B T] -> [B T]")
    made(ones(2, 3), ones(7))
    assert problem(made, ones(2), ones(7)).startswith("my_op: x has shape [2]")


def test_numbers_and_arguments_left_out_fit_everywhere():
    made = make_op("x [B T], y [T], z [B] -> [B T]")
    made(ones(2, 3), None, ones(2))
    made(ones(2, 3), 1.0, ones(2))
    made(ones(2, 3), np.float32(1.0))
    assert problem(made, ones(2, 3), None, ones(4)).startswith("my_op: B is 2 in x but 4 in z")


def test_without_a_line_nothing_is_checked():
    make_op("nothing to see")(ones(2), ones(3, 3))
