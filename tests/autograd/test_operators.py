"""Operators and methods of tensors besides arithmetic: values and gradients as PyTorch 2.13 has them."""

import operator

import numpy as np
import pytest

from numformer import InputError, Parameter, Tensor, gradients, ops
from numformer.testing import check_gradients

X = np.array([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]], np.float32)
CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def grad_of(function, x):
    """Return the gradient of the sum of a function at x."""
    leaf = Tensor(np.asarray(x, np.float32), requires_grad=True)
    return gradients(function(leaf).sum(), [leaf])[0].tolist()


# Powers


@pytest.mark.parametrize("exponent", [2, 3, 2.0, -1, 0.5, np.float64(1.5)], ids=repr)
def test_powers_are_numpys_and_stay_float32(exponent):
    x = abs(X)
    y = Tensor(x) ** exponent
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.data, x ** float(exponent), rtol=1e-6)
    check_gradients(lambda t: t**exponent, x)


def test_a_number_and_a_tensor_may_be_the_base_and_the_exponent():
    np.testing.assert_allclose((2 ** Tensor(X)).data, 2.0**X, rtol=1e-6)
    np.testing.assert_allclose((abs(X) ** Tensor(X)).data, abs(X) ** X, rtol=1e-6)
    check_gradients(lambda t: 2**t, X)
    check_gradients(lambda a, b: a**b, abs(X), X)


def test_whole_powers_of_negative_numbers_have_gradients():
    assert grad_of(lambda x: x**3, [-2.0, 0.0]) == [12.0, 0.0]


def test_powers_at_zero_have_the_gradients_of_pytorch():
    x, y = (
        Tensor(np.array(a, np.float32), requires_grad=True) for a in ([0.0, 2.0, 0.0, -3.0, 1.0], [2.0, 0.0, 0, 3, 0.5])
    )
    z = x**y
    assert z.tolist() == [0.0, 1.0, 1.0, -27.0, 1.0]
    dx, dy = gradients(z.sum(), [x, y])
    assert dx.tolist() == [0.0, 0.0, 0.0, 27.0, 0.5]
    np.testing.assert_allclose(dy, [0.0, np.log(2.0), 0.0, np.nan, 0.0], rtol=1e-6)


def test_whole_numbers_have_whole_powers():
    assert (Tensor([1, 2, 3]) ** 2).tolist() == [1, 4, 9]
    assert (Tensor([1, 2, 3]) ** 2).dtype == np.int64


# Comparisons


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
@pytest.mark.parametrize("other", [0.5, X.T.copy().reshape(2, 3), Tensor(X)], ids=["number", "array", "tensor"])
def test_comparisons_are_tensors_of_truth_values_without_a_graph(compare, other):
    plain = other.data if isinstance(other, Tensor) else other
    x = Tensor(X, requires_grad=True)
    for ours, expected in (
        (compare(x, other), compare(X, plain)),
        (compare(other, x), compare(plain, X)),
    ):
        assert isinstance(ours, Tensor)
        assert ours.dtype == np.bool_
        assert not ours.requires_grad
        np.testing.assert_array_equal(ours.data, expected)


def test_comparisons_can_be_joined_turned_and_counted():
    x = Tensor([-1.0, 0.5, 2.0])
    assert ((x > 0) & (x < 1)).tolist() == [False, True, False]
    assert ((x < 0) | (x > 1)).tolist() == [True, False, True]
    assert (~(x > 0)).tolist() == [True, False, False]
    assert (x > 0).sum().item() == 2
    assert (x > 0).any()
    assert not (x > 0).all()
    assert x[x > 0].tolist() == [0.5, 2.0]


def test_a_tensor_is_a_key_by_identity():
    a, b = Tensor([1.0]), Tensor([1.0])
    assert len({a, b}) == 2
    assert {a: 1}[a] == 1
    assert len({Parameter(X), Parameter(X)}) == 2


@pytest.mark.parametrize("other", [None, "text", pytest.param(object(), id="object")], ids=str)
def test_a_tensor_equals_nothing_that_is_no_array(other):
    assert (Tensor(X) == other) is False
    assert (Tensor(X) != other) is True


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Tensor(X) == Tensor([1.0, 2.0]),
            r"eq needs two tensors that fit together, got float32 of shape \(2, 3\)",
        ),
        (lambda: (Tensor(X) > 0) & Tensor(X), "and needs two tensors that fit together"),
        (lambda: Tensor(X).argmax(2), "there is no axis 2 in a tensor with ndim=2"),
        (lambda: Tensor(X).transpose(0, 2), "there is no axis 2 in a tensor with ndim=2"),
        (lambda: Tensor(X).unsqueeze(4), "there is no axis 4 in a tensor with ndim=3"),
        (lambda: Tensor(X).expand(2, 4), r"a tensor of shape \(2, 3\) cannot be expanded to \(2, 4\)"),
        (lambda: Tensor(X).repeat(2), "repeat of a tensor with ndim=2 needs as many numbers"),
        (lambda: Tensor([1.0]).var(), "a variance with correction=1 needs more elements than 1"),
        (lambda: Tensor(X).sum(axes=1), r"unknown setting axes; .* did you mean axis\?"),
        (lambda: Tensor(X).var(unbiased=False), "there is no setting unbiased: give correction=1"),
        (lambda: ops.stack([X, X[0]]), r"stack needs arrays of one shape, got \(2, 3\), \(3,\)"),
        (lambda: Tensor(X).__setitem__(0, 1.0), "tensors are not changed in place: use masked_fill"),
        (
            lambda: Tensor(X).sum().backward(retain_graph=True),
            "there is no setting retain_graph: a graph is used up once",
        ),
        (lambda: gradients(Tensor(X).sum(), Tensor(X)), "gradients takes a list of the tensors wanted"),
        (
            lambda: ops.stack(Tensor(X), Tensor(X)),
            r"stack takes a list of arrays and an axis, as in stack\(\[x, y\], 0\)",
        ),
        (lambda: ops.cat(X, X), "cat takes a list of arrays and an axis"),
        (lambda: Tensor([Tensor(X, requires_grad=True)]), "cut off from their gradients: use nf.ops.stack"),
        (lambda: ops.concat([X, Tensor(X, requires_grad=True)]), "cut off from their gradients: use nf.ops.stack"),
        (lambda: ops.stack([]), "stack needs arrays of one shape, got none"),
        (lambda: ops.stack([X, X], axis=3), "stack: there is no axis 3 among 3"),
    ],
    ids=range(20),
)
def test_what_cannot_be_done_is_said_in_a_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


# Over axes


@pytest.mark.parametrize(
    "name", ["sum", "mean", "max", "min", "softmax", "log_softmax", "argmax", "argmin", "var", "std"]
)
def test_dim_is_another_word_for_axis(name):
    method = getattr(Tensor(X), name)
    np.testing.assert_array_equal(method(dim=1).data, method(axis=1).data)
    assert (method(dim=0).data.shape != method(dim=1).data.shape) or "softmax" in name
    if "softmax" not in name:
        np.testing.assert_array_equal(method(dim=1, keepdim=True).data, method(1, keepdims=True).data)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "argmax", "argmin", "var", "std", "any", "all"])
def test_numpys_functions_call_the_methods_of_their_name(name):
    for settings in ({}, {"axis": 1}, {"axis": 0, "keepdims": True}):
        ours = getattr(np, name)(Tensor(X), **settings)
        assert isinstance(ours, Tensor)
        np.testing.assert_allclose(ours.data, getattr(np, name)(X, **settings), rtol=1e-6)
    np.testing.assert_array_equal(np.transpose(Tensor(CUBE), (2, 0, 1)).data, CUBE.transpose(2, 0, 1))
    assert ["a", "b", "c"][np.argmax(Tensor(X[0]))] == "a"


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_extremes_are_numpys(name, axis, keepdims):
    ours = getattr(Tensor(X), name)(axis=axis, keepdims=keepdims)
    np.testing.assert_array_equal(ours.data, getattr(X, name)(axis=axis, keepdims=keepdims))
    if "arg" not in name:
        check_gradients(lambda x: getattr(x, name)(axis=axis, keepdims=keepdims), X)


@pytest.mark.parametrize("axis", [None, 0, (0, 1)])
@pytest.mark.parametrize("correction", [0, 1])
def test_the_variance_divides_by_the_count_less_the_correction(axis, correction):
    for name in ("var", "std"):
        ours = getattr(Tensor(X), name)(axis, correction=correction)
        expected = getattr(X.astype(np.float64), name)(axis=axis, ddof=correction)
        np.testing.assert_allclose(ours.data, expected, rtol=1e-5)
        check_gradients(lambda x, name=name: getattr(x, name)(axis, correction=correction), X)


def test_the_variance_is_unbiased_by_default():
    assert Tensor([1.0, 3.0]).var().item() == 2.0
    assert Tensor([1.0, 3.0]).std(keepdims=True).tolist() == [pytest.approx(2.0**0.5)]


def test_a_softmax_goes_along_any_axis():
    for axis in (0, 1, -1):
        expected = np.exp(X) / np.exp(X).sum(axis=axis, keepdims=True)
        np.testing.assert_allclose(Tensor(X).softmax(axis).data, expected, rtol=1e-6)
        np.testing.assert_allclose(Tensor(X).log_softmax(axis).data, np.log(expected), rtol=1e-5, atol=1e-6)


# Element by element


@pytest.mark.parametrize("name", ["exp", "abs", "tanh", "sigmoid", "relu", "log", "sqrt"])
def test_methods_are_the_ops_of_their_name(name):
    x = abs(X) if name in ("log", "sqrt") else X
    expected = np.sqrt(x) if name == "sqrt" else getattr(ops, name)(x)
    np.testing.assert_array_equal(getattr(Tensor(x), name)().data, expected)


def test_the_absolute_value_has_no_slope_at_zero():
    assert grad_of(abs, [-2.0, 0.0, 3.0]) == [-1.0, 0.0, 1.0]


def test_no_gradient_flows_to_what_was_clamped():
    assert Tensor(X).clamp(-1.0, 1.0).tolist() == np.clip(X, -1.0, 1.0).tolist()
    assert Tensor(X).clamp(min=0.0).tolist() == np.maximum(X, 0.0).tolist()
    assert grad_of(lambda x: x.clamp(-1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0]) == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_mask_is_filled_and_broadcast():
    mask = np.array([True, False, False])
    filled = Tensor(X).masked_fill(mask, float("-inf"))
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled.data, np.where(mask, -np.inf, X))
    assert grad_of(lambda x: x.masked_fill(x > 1.0, 9.0), [0.5, 2.0]) == [1.0, 0.0]


# Shapes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x.view(4, -1), CUBE.reshape(4, 6)),
        (lambda x: x.view((4, -1)), CUBE.reshape(4, 6)),
        (lambda x: x.view(x.size(0), -1), CUBE.reshape(2, 12)),
        (lambda x: x.reshape(x.size()), CUBE),
        (lambda x: x.flatten(), CUBE.reshape(24)),
        (lambda x: x.flatten(1), CUBE.reshape(2, 12)),
        (lambda x: x.flatten(0, 1), CUBE.reshape(6, 4)),
        (lambda x: x.unsqueeze(0), CUBE[None]),
        (lambda x: x.unsqueeze(-1), CUBE[..., None]),
        (lambda x: x.unsqueeze(dim=1).squeeze(1), CUBE),
        (lambda x: x.unsqueeze(1).unsqueeze(-1).squeeze(), CUBE),
        (lambda x: x.squeeze(0), CUBE),
        (lambda x: x.transpose(1, 2), CUBE.swapaxes(1, 2)),
        (lambda x: x.transpose(-2, -1), CUBE.swapaxes(1, 2)),
        (lambda x: x.transpose(2, 0, 1), CUBE.transpose(2, 0, 1)),
        (lambda x: x.transpose((2, 0, 1)), CUBE.transpose(2, 0, 1)),
        (lambda x: x[0].transpose((0, 1)), CUBE[0]),
        (lambda x: x[0].transpose(0, 1), CUBE[0].T),
        (lambda x: x[0].transpose(-2, -1), CUBE[0].T),
        (lambda x: x.permute(2, 0, 1), CUBE.transpose(2, 0, 1)),
        (lambda x: x.permute((2, 0, 1)), CUBE.transpose(2, 0, 1)),
        (lambda x: x[0].permute(0, 1), CUBE[0]),
        (lambda x: x.mT, CUBE.swapaxes(1, 2)),
        (lambda x: x[:1].expand(5, -1, -1), np.broadcast_to(CUBE[:1], (5, 3, 4))),
        (lambda x: x.expand(2, 2, 3, 4), np.broadcast_to(CUBE, (2, 2, 3, 4))),
        (lambda x: x.repeat(2, 1, 3), np.tile(CUBE, (2, 1, 3))),
        (lambda x: x[0].repeat(2, 1, 3), np.tile(CUBE[0], (2, 1, 3))),
        (lambda x: x.contiguous().clone(), CUBE),
    ],
    ids=range(28),
)
def test_shapes_change_as_in_pytorch(change, expected):
    np.testing.assert_array_equal(change(Tensor(CUBE)).data, expected)
    check_gradients(change, CUBE)


def test_the_size_is_a_number_and_can_be_called():
    x = Tensor(CUBE)
    assert x.size == 24
    assert isinstance(x.size, int)
    assert (x.size(), x.size(0), x.size(-1), x.numel(), x.dim()) == ((2, 3, 4), 2, 4, 24, 3)


def test_stack_and_cat_join_sequences():
    a, b = Tensor(X, requires_grad=True), Tensor(X + 1.0, requires_grad=True)
    for axis in (0, 1, 2, -1):
        np.testing.assert_array_equal(ops.stack([a, b], axis=axis).data, np.stack([a.data, b.data], axis))
        np.testing.assert_array_equal(ops.stack([X, X], dim=axis), np.stack([X, X], axis))
    np.testing.assert_array_equal(ops.cat([a, b]).data, np.concatenate([a.data, b.data]))
    np.testing.assert_array_equal(ops.cat([a, b], dim=1).data, np.concatenate([a.data, b.data], 1))
    assert ops.stack([Tensor(1.0), Tensor(2.0)]).tolist() == [1.0, 2.0]
    weights = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    da, db = gradients(ops.stack([a, b], axis=1), [a, b], weights)
    np.testing.assert_array_equal(da, weights[:, 0])
    np.testing.assert_array_equal(db, weights[:, 1])


# In the graph


def test_a_clone_has_its_own_values_and_passes_gradients_on():
    x = Tensor(X.copy(), requires_grad=True)
    y = x.clone()
    assert not np.shares_memory(x.data, y.data)
    assert gradients((y * 3.0).sum(), [x])[0].tolist() == np.full_like(X, 3.0).tolist()
    integers = Tensor([1, 2])
    assert integers.clone().dtype == np.int64
    assert not np.shares_memory(integers.clone().data, integers.data)


def test_requires_grad_can_be_set_in_passing():
    x = Tensor(X).requires_grad_()
    assert x.requires_grad
    assert not x.requires_grad_(False).requires_grad


# What has no gradient, and what has no number as its value


def test_whole_quotients_and_remainders_are_those_of_numpy():
    x = Tensor(np.array([5.0, -7.0], np.float32))
    for found, expected in ((x // 2, [2, -4]), (x % 2.5, [0, 0.5]), (8 // x, [1, -2]), (8 % x, [3, -6])):
        assert found.dtype == np.float32
        assert found.tolist() == expected
    assert (Tensor([5, 7]) // Tensor([2, 4])).tolist() == [2, 1]
    assert (np.array([5, 7]) % Tensor([2, 4])).tolist() == [1, 3]


def test_whole_quotients_are_refused_where_a_gradient_would_be_lost():
    x = Tensor([5.0], requires_grad=True)
    for of in (lambda: x // 2, lambda: 2 % x, lambda: Tensor([1.0]) // x):
        with pytest.raises(InputError, match="no gradient flows through // and %"):
            of()
    with pytest.raises(InputError, match=r"shapes that fit together, got \(2,\) and \(3,\)"):
        Tensor([5, 6]) % np.ones(3)
    with pytest.raises(TypeError, match="unsupported operand"):
        Tensor([5]) // "2"


def test_one_number_is_rounded_as_a_number_of_python():
    loss = Tensor([1.25, 1.5], requires_grad=True).sum()
    assert round(loss, 1) == 2.8
    assert round(loss) == 3


@pytest.mark.parametrize(
    ("of", "value", "slope"),
    [
        (lambda x: x.log(), -np.inf, np.inf),
        (lambda x: (x - 1.0).log(), np.nan, -1.0),
        (lambda x: 1.0 / x, np.inf, -np.inf),
        (lambda x: (x - 1.0) ** 0.5, np.nan, np.nan),
        (lambda x: (x + 1000.0).exp(), np.inf, np.inf),
    ],
)
def test_what_has_no_number_as_its_value_is_infinite_or_nan_without_a_warning(of, value, slope):
    x = Tensor(np.zeros(1, np.float32), requires_grad=True)
    y = of(x)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, [value])
    np.testing.assert_array_equal(x.grad, [slope])
