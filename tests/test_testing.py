import numpy as np
import pytest

from numformer import InputError, Parameter, nn, ops
from numformer.autograd import Op
from numformer.autograd.shapes import check_shapes, parse_shape_lines
from numformer.testing import SIZES, check_gradients, draw_arguments, expected_shapes, settings_of

X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.mark.parametrize("factor", [1.0 + 1e-5, 0.0, -1.0, 2.0])
def test_a_wrong_gradient_is_found(factor):
    square = Op(lambda x: (x * x, lambda dy: factor * 2.0 * x * dy))
    with pytest.raises(AssertionError, match="the gradient of input 0 is off by"):
        check_gradients(square, X)


def test_one_wrong_element_is_found():
    def body(x):
        def vjp(dy):
            dx = 2.0 * x * dy
            dx[1, 2] = 0.0
            return dx

        return x * x, vjp

    with pytest.raises(AssertionError, match="input 0"):
        check_gradients(Op(body), X)


def test_a_missing_gradient_is_found():
    with pytest.raises(AssertionError, match="input 1"):
        check_gradients(Op(lambda x, y: (x * y, lambda dz: (dz * y, None))), X, X)


def test_a_gradient_in_the_second_result_is_checked_too():
    two = Op(lambda x: ((x + 0.0, x * x), lambda dy, dz: dy + dz))
    with pytest.raises(AssertionError, match="input 0"):
        check_gradients(two, X)


def test_a_wrong_parameter_gradient_is_named_and_the_parameter_is_put_back():
    wrong = Op(lambda x, w: (x * w, lambda dz: (dz * w, dz)))
    weight = Parameter(X.copy())
    with pytest.raises(AssertionError, match=r"parameter 0 of shape \(3, 4\)"):
        check_gradients(lambda x: wrong(x, weight), X, parameters=[weight])
    np.testing.assert_array_equal(weight.data, X)
    assert weight.grad is None


def test_the_inputs_are_left_alone_and_float32_is_checked_in_float64():
    x = X.astype(np.float32)
    check_gradients(ops.tanh, x)
    np.testing.assert_array_equal(x, X.astype(np.float32))


def test_float32_parameters_are_refused():
    weight = Parameter(np.ones(4, np.float32))
    with pytest.raises(InputError, match="needs float64 parameters, got float32"):
        check_gradients(lambda x: x * weight, X, parameters=[weight])


LINE = """Doc.

    q [B H T K], ids [B T] < V, mask [B 1 S] bool -> [B T+S], [K//2] with p=0.5, shape=(B, -1)
"""


def test_a_shape_line_says_how_to_draw_arguments():
    (line,) = parse_shape_lines(LINE)
    q, ids, mask = draw_arguments(line, np.random.default_rng(0))
    B, H, T, K, S, V = (SIZES[axis] for axis in "BHTKSV")
    assert (q.shape, ids.shape, mask.shape) == ((B, H, T, K), (B, T), (B, 1, S))
    assert mask.dtype == bool
    assert ids.min() >= 0
    assert ids.max() < V
    assert expected_shapes(line) == [(B, T + S), (K // 2,)]
    assert settings_of(line) == {"p": 0.5, "shape": (B, -1)}


def test_all_axis_letters_have_different_lengths():
    assert len(set(SIZES.values())) == len(SIZES)


ALTERNATIVES = parse_shape_lines("\n  x [T D], y [D] bool -> [T]\n  x [T D] -> [D]\n  x [2 D] -> [D]\n")


def ones(*shape):
    return np.ones(shape)


def test_arrays_may_fit_any_of_the_alternatives():
    check_shapes("op", ALTERNATIVES, (ones(3, 4),))
    check_shapes("op", ALTERNATIVES, (ones(3, 4), ones(4) > 0))
    check_shapes("op", ALTERNATIVES, (ones(3, 4), ones(1) > 0))


def test_an_alternative_with_fewer_arguments_does_not_excuse_a_wrong_last_one():
    with pytest.raises(InputError, match="op: y must be boolean"):
        check_shapes("op", ALTERNATIVES, (ones(3, 4), ones(4)))
    with pytest.raises(InputError, match="op: D is 4 in x but 5 in y"):
        check_shapes("op", ALTERNATIVES, (ones(3, 4), ones(5) > 0))


@pytest.mark.parametrize("factor", [5.0, 0.0])
@pytest.mark.parametrize("give", [list, tuple, iter])
def test_parameters_given_as_a_generator_are_checked_too(give, factor):
    """`layer.parameters()` is one: it was used up before the check, and any gradient passed."""
    wrong = Op(lambda x, w: (x * w, lambda dz: (dz * w, factor * dz * x)))
    weight = Parameter(X.copy())
    with pytest.raises(AssertionError, match=r"the gradient of parameter 0 of shape \(3, 4\) is off by"):
        check_gradients(lambda x: wrong(x, weight), X, parameters=give([weight]))
    right = Op(lambda x, w: (x * w, lambda dz: (dz * w, dz * x)))
    check_gradients(lambda x: right(x, weight), X, parameters=give([weight]))


def test_a_layer_with_a_wrong_gradient_is_found_by_its_parameters():
    class Wrong(nn.Linear):
        def forward(self, x):
            five_times = Op(lambda w: (w + 0.0, lambda dw: 5.0 * dw))
            return ops.linear(x, five_times(self.weight), self.bias)

    for kind in (nn.Linear, Wrong):
        layer = kind(4, 2).astype(np.float64)
        if kind is nn.Linear:
            check_gradients(layer, X, parameters=layer.parameters())
        else:
            with pytest.raises(AssertionError, match=r"parameter 0 of shape \(2, 4\) is off by 0.8"):
                check_gradients(layer, X, parameters=layer.parameters())


def test_a_check_of_nothing_is_no_check():
    frozen = Parameter(X.copy(), requires_grad=False)
    for parameters in ([], [frozen]):
        with pytest.raises(InputError, match="needs a floating-point input, or a parameter that requires gradients"):
            check_gradients(lambda ids: ops.embedding(ids, Parameter(X.copy())), np.arange(2), parameters=parameters)
