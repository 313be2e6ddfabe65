"""Arrays of another library than NumPy: an op goes to the body that was registered for their kind."""

import array_api_strict as xp
import numpy as np
import pytest

from numformer import InputError, Tensor, no_grad, ops
from numformer.autograd import Op, kind_of, namespace_of, storage

KIND = "array_api_strict"


def make_op():
    """Return an op with a body for each of two kinds, and the list of the bodies that ran."""
    ran = []

    def scaled(x, factor=None, *, need, power=1):
        """Multiply x by a factor.

        x [B T], factor [T] -> [B T]
        """
        ran.append("numpy")
        return x * (1.0 if factor is None else factor) ** power, lambda dy: (dy, None)

    made = Op(scaled)

    @made.body_for(KIND)
    def _(x, factor=None, *, power=1):
        ran.append((type(x), factor, power))
        return x

    return made, ran


def test_the_kind_of_an_array_is_the_name_of_its_namespace():
    assert kind_of(xp.ones(2)) == KIND
    assert namespace_of(xp.ones(2)) is xp
    for value in (np.ones(2), np.float32(1.0), Tensor([1.0]), 1, 1.5, True, [1], (1,), None, np.ones(2, bool)):
        assert kind_of(value) == "numpy"
    for value in (np.ones(2), Tensor([1.0]), [1], None):
        assert namespace_of(value) is np


def test_arrays_of_another_kind_go_to_the_body_of_their_kind():
    made, ran = make_op()
    x, factor = xp.ones((2, 3)), xp.ones(3)
    assert made(x, factor, power=2) is x
    assert made(x) is x
    assert made(factor=factor, x=x) is x
    assert ran == [(type(x), factor, 2), (type(x), None, 1), (type(x), factor, 1)]


def test_numpys_arrays_go_to_the_numpy_body_beside_another_one():
    made, ran = make_op()
    made(np.ones((2, 3)))
    made(Tensor(np.ones((2, 3))))
    assert ran == ["numpy", "numpy"]


def test_one_array_of_the_kind_is_enough():
    made, ran = make_op()
    made(np.ones((2, 3)), xp.ones(3))
    assert len(ran) == 1
    assert ran[0] != "numpy"


def test_recording_and_storage_have_nothing_to_do_with_another_kind(monkeypatch):
    made, ran = make_op()
    monkeypatch.setattr("numformer.autograd.decorator.Tensor.__init__", None)
    monkeypatch.setattr(made, "_run", None)
    x = xp.ones((2, 3))
    with storage("float16-storage"):
        assert made(x) is x
    with no_grad():
        assert made(x) is x
    assert len(ran) == 2


@pytest.mark.parametrize("first", [np, xp])
def test_shapes_are_checked_for_every_kind(first):
    made, _ = make_op()
    made(first.ones((2, 3)), first.ones(3))
    made(xp.ones((2, 3)), xp.ones(3))
    with pytest.raises(InputError, match=r"^scaled: T is 3 in x but 4 in factor of shape \[4\]"):
        made(xp.ones((2, 3)), xp.ones(4))
    with pytest.raises(InputError, match=r"^scaled: x has shape \[2\], expected axes \[B T\]"):
        made(xp.ones(2))


def test_what_integers_and_masks_hold_is_checked_for_every_kind(monkeypatch):
    monkeypatch.setattr(ops.embedding, "bodies", {KIND: lambda ids, weight: "embedded"})
    monkeypatch.setattr(ops.masked_mean, "bodies", {KIND: lambda x, mask: "averaged"})
    weight, x = xp.ones((5, 4)), xp.ones((2, 3, 4))
    assert ops.embedding(xp.zeros((2, 3), dtype=xp.int32), weight) == "embedded"
    with pytest.raises(InputError, match=r"embedding: ids must hold integers, got .*float64"):
        ops.embedding(xp.zeros((2, 3)), weight)
    assert ops.masked_mean(x, xp.ones((2, 3), dtype=xp.bool)) == "averaged"
    with pytest.raises(InputError, match=r"masked_mean: mask must be boolean .*got .*int64"):
        ops.masked_mean(x, xp.ones((2, 3), dtype=xp.int64))


def test_a_kind_without_a_body_is_one_sentence():
    with pytest.raises(InputError, match=f"^linear has no body for arrays of {KIND}; it has one for numpy(, jax)?$"):
        ops.linear(xp.ones((2, 3)), xp.ones((4, 3)))


def test_the_sentence_lists_the_kinds_that_there_are():
    made, _ = make_op()
    made.jax(lambda x: x)
    made.bodies["a"] = made.bodies.pop(KIND)
    with pytest.raises(InputError, match=r"it has one for numpy, jax, a$"):
        made(xp.ones((2, 3)))


def test_a_tensor_beside_an_array_of_another_kind_is_refused_as_it_would_get_no_gradient():
    made, _ = make_op()
    factor = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(InputError, match=f"^scaled was given an array of {KIND} beside a Tensor .* bind or freeze"):
        made(xp.ones((2, 3)), factor)


def test_a_body_is_registered_by_a_decorator_that_returns_it():
    made, _ = make_op()

    @made.jax
    def body(x, factor=None, *, power=1):
        return x

    assert callable(body)
    assert made.bodies["jax"] is body
