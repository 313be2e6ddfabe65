"""The decorator: how arguments are bound, what a body is told, and what is said about a faulty one."""

import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, no_grad, ops
from numformer.autograd import OPS, Op, op


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


# Arguments


def seen_by(**options):
    """Return an op of two optional arguments that lists what it is given, and the list."""
    seen = []

    def body(x, y=None, z=None, *, need, power=1):
        seen.append((x, y, z, tuple(need), power))
        return x * 1.0, lambda dx: (dx, None, None)

    return Op(body), seen


def test_an_optional_argument_is_none_when_it_is_left_out():
    show, seen = seen_by()
    one = np.ones(1)
    for call in (lambda: show(one), lambda: show(one, None), lambda: show(one, None, None), lambda: show(one, z=None)):
        call()
    assert seen == [(one, None, None, (False, False, False), 1)] * 4


def test_arguments_may_be_given_by_keyword_in_any_order():
    show, seen = seen_by()
    x, y, z = (np.full(1, float(value)) for value in range(3))
    show(z=z, x=x, y=y, power=2)
    show(x, z=z)
    assert seen == [(x, y, z, (False, False, False), 2), (x, None, z, (False, False, False), 1)]


def test_an_argument_given_by_keyword_gets_its_gradient():
    x, weight, bias = leaf(2, 3), leaf(4, 3), leaf(4)
    expected = gradients(ops.linear(x, weight, bias).sum(), [x, weight, bias])
    found = gradients(ops.linear(bias=bias, weight=weight, x=x).sum(), [x, weight, bias])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_body_is_told_which_gradients_are_wanted():
    show, seen = seen_by()
    show(leaf(1), np.ones(1), leaf(1))
    with no_grad():
        show(leaf(1))
    assert [need for *_, need, _ in seen] == [(True, False, True), (False, False, False)]


def test_value_and_vjp_takes_keywords_and_wants_every_gradient():
    show, seen = seen_by()
    show.value_and_vjp(np.ones(1), z=np.ones(1), power=3)
    assert [(need, power) for *_, need, power in seen] == [((True, False, True), 3)]


def test_a_list_is_an_argument_like_an_array():
    np.testing.assert_array_equal(ops.linear([[1.0, 2.0]], [[3.0, 4.0]]), [[11.0]])
    assert ops.linear([[1.0, 2.0]], [[3.0, 4.0]]).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.linear(x), "linear lacks its argument weight"),
        (lambda x: ops.linear(weight=x), "linear lacks its argument x"),
        (lambda x: ops.linear(x, x, None, None), "linear takes the arguments x, weight, bias once each"),
        (lambda x: ops.linear(x, x, x=x), "linear takes the arguments x, weight, bias once each"),
        (lambda x: ops.linear.value_and_vjp(x), "linear lacks its argument weight"),
    ],
)
def test_missing_and_superfluous_arguments_are_named(call, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        call(np.ones((1, 1)))


def test_a_setting_that_does_not_exist_is_an_error_with_the_one_that_may_be_meant():
    with pytest.raises(InputError, match=r"unknown setting approximat; .* did you mean approximate\?"):
        ops.gelu(np.ones(2), approximat="tanh")


def test_an_op_takes_the_words_of_pytorch_for_its_settings():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(ops.sum(x, dim=1, keepdim=True), ops.sum(x, axis=1, keepdims=True))
    np.testing.assert_array_equal(ops.concat(x, x, dim=0), np.concatenate([x, x]))
    with pytest.raises(InputError, match="axis and dim are the same setting"):
        ops.sum(x, axis=1, dim=1)


def test_an_argument_that_is_no_array_is_refused():
    with pytest.raises(InputError, match="exp takes arrays and numbers, got 'text'"):
        ops.exp("text")


def test_a_type_error_inside_a_body_stays_what_it_is():
    @Op
    def faulty(x, *, power=2):
        """Fail."""
        return len(power), None

    with pytest.raises(TypeError, match="has no len"):
        faulty(np.ones(2), power=3)


def test_the_decorator_lists_an_op_under_its_name():
    @op
    def a_new_op(x):
        """Return x.

        x [B T] -> [B T]
        """
        return x * 1.0, lambda dy: dy

    try:
        assert OPS["a_new_op"] is a_new_op
        assert repr(a_new_op) == "<op a_new_op>"
        assert a_new_op.__doc__.startswith("Return x.")
        with pytest.raises(InputError, match=r"^a_new_op: x has shape \[3\], expected axes \[B T\]"):
            a_new_op(np.ones(3))
    finally:
        del OPS["a_new_op"]


def test_shapes_are_checked_again_once_more_of_them_were_seen_than_are_remembered(monkeypatch):
    monkeypatch.setattr("numformer.autograd.decorator.SEEN_LIMIT", 3)
    plain = Op(lambda x: (x, lambda dy: dy))
    for length in range(1, 9):
        plain(np.ones(length))
        assert 1 <= len(plain._seen) <= 3


# Faulty ops


def faulty(vjp, value=lambda x, y: x + y):
    """Return the loss of an op of this name whose pullback is `vjp`, and its two inputs."""

    def my_op(x, y):
        return value(x, y), vjp

    x, y = leaf(2, 3, dtype=np.float32), leaf(2, 3, dtype=np.float32)
    return Op(my_op)(x, y), [x, y]


PAIR = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("vjp", "message"),
    [
        (lambda dz: dz, "the pullback of my_op returned 1 gradients, expected 2: one for each positional argument"),
        (lambda dz: (dz, dz, None), "the pullback of my_op returned 3 gradients, expected 2"),
        (lambda dz: [dz, dz], "the pullback of my_op returned 1 gradients, expected 2"),
        (lambda dz: (dz, dz[0]), r"a gradient of float32 \[3\] for argument 1, which is float32 \[2, 3\]"),
        (lambda dz: (dz.T, dz), r"a gradient of float32 \[3, 2\] for argument 0, which is float32 \[2, 3\]"),
        (lambda dz: (dz, dz.astype(np.float64)), r"a gradient of float64 \[2, 3\] for argument 1, which is float32"),
        (lambda dz: (dz.astype(np.float16), dz), r"a gradient of float16 \[2, 3\] for argument 0, which is float32"),
        (lambda dz: (1.0, dz), r"a gradient of float for argument 0, which is float32 \[2, 3\]"),
        (lambda dz: (dz, dz.tolist()), r"a gradient of list for argument 1, which is float32 \[2, 3\]"),
    ],
)
def test_a_faulty_pullback_is_one_sentence(vjp, message):
    output, inputs = faulty(vjp)
    with pytest.raises(InputError, match=message) as raised:
        gradients(output, inputs, PAIR)
    assert "\n" not in str(raised.value)


def test_a_gradient_for_what_wants_none_is_not_looked_at():
    output = Op(lambda x, y: (x + y, lambda dz: (dz, "nothing")))(leaf(3), np.ones(3))
    output.backward(np.ones(3))


def test_one_argument_needs_no_tuple_and_none_is_no_gradient():
    x, h = leaf(3), leaf(3)
    alone = Op(lambda x: (x * 1.0, lambda dy: dy))
    first = Op(lambda x, y: (x + y, lambda dz: (dz, None)))
    assert gradients(alone(x), [x], np.ones(3))[0].tolist() == [1.0] * 3
    found = gradients(first(x, h), [x, h], np.ones(3))
    assert found[0].tolist() == [1.0] * 3
    assert found[1] is None


def test_arguments_of_two_dtypes_get_gradients_of_their_own():
    single, double = leaf(3, dtype=np.float32), leaf(3)
    found = gradients((single * double).sum(), [single, double])
    assert [grad.dtype for grad in found] == [np.float32, np.float64]
    np.testing.assert_allclose(found[0], double.data, rtol=1e-6)


@pytest.mark.parametrize("returned", [1.0, (1.0,), (np.ones(3), 5), (np.ones(3), np.ones(3), np.ones(3)), None])
def test_a_body_must_return_value_and_pullback(returned):
    with pytest.raises(InputError, match=r"^the body of the op my_op must return its value and its pullback"):
        make_op(returned)(np.ones(3))


def make_op(returned):
    def my_op(x):
        return returned

    return Op(my_op)


def test_a_body_without_a_pullback_may_only_be_used_where_no_gradient_is_wanted():
    rounded = make_op((np.ones(3), None))
    assert rounded(np.ones(3)).tolist() == [1.0] * 3
    assert not rounded(Tensor(np.ones(3))).requires_grad
    with no_grad():
        rounded(leaf(3))
    with pytest.raises(
        InputError, match=r"^the body of the op my_op returned no pullback, though a gradient is wanted$"
    ):
        rounded(leaf(3))


@pytest.mark.parametrize("error", [ValueError("do not fit"), ZeroDivisionError("by zero")])
def test_arrays_that_numpy_refuses_are_named_with_their_shapes(error):
    def my_op(x, y=None):
        raise error

    with pytest.raises(InputError, match=rf"^my_op: {error} \(arguments of shapes \[2, 3\]\)$"):
        Op(my_op)(np.ones((2, 3)))


def test_an_input_error_of_the_body_is_passed_on_as_it_is():
    def my_op(x):
        raise InputError("no such thing")

    with pytest.raises(InputError, match=r"^no such thing$"):
        Op(my_op)(np.ones(3))
