"""Recomputation: the same bits for less memory, and a sentence where it would go wrong."""

import numpy as np
import pytest

from numformer import InputError, Parameter, Tensor, gradients, no_grad, ops, random, recompute
from numformer.nn import GELU, Dropout, Linear, Sequential


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


def make_stack(depth=4, width=8, p=0.4):
    blocks = [Sequential(Linear(width, 4 * width), GELU(), Dropout(p), Linear(4 * width, width)) for _ in range(depth)]
    for number, block in enumerate(blocks):
        block[2].reseed(7, number)
    return blocks


def run_stack(blocks, x, recomputed):
    for block in blocks:
        x = recompute(block, x, parameters=list(block.parameters())) if recomputed else block(x)
    return x


def stack_gradients(blocks, recomputed, stream=None):
    x = leaf(5, 8, dtype=np.float32)
    wanted = [x, *(p for block in blocks for p in block.parameters())]
    if stream is None:
        for number, block in enumerate(blocks):
            block[2].reseed(7, number)
        return gradients(run_stack(blocks, x, recomputed).sum(), wanted)
    with random.use(random.Stream(*stream)):
        loss = run_stack(blocks, x, recomputed).sum()
    return gradients(loss, wanted)


@pytest.mark.parametrize("stream", [None, (1, 2)], ids=["outside a stream", "inside a stream"])
def test_recomputation_gives_the_same_bits(stream):
    blocks = make_stack()
    plain, again = (stack_gradients(blocks, recomputed, stream) for recomputed in (False, True))
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_recomputation_inside_recomputation_gives_the_same_bits():
    inner, outer = make_stack(depth=2)

    def both(x):
        return outer(recompute(inner, x, parameters=list(inner.parameters())))

    wanted = [*inner.parameters(), *outer.parameters()]
    x = leaf(5, 8, dtype=np.float32)
    with random.use(random.Stream(1)):
        expected = gradients(outer(inner(x)).sum(), wanted)
    with random.use(random.Stream(1)):
        found = gradients(recompute(both, x, parameters=wanted).sum(), wanted)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_recomputation_draws_as_many_numbers_as_no_recomputation():
    counts = []
    for recomputed in (False, True):
        with random.use(stream := random.Stream(1)):
            run_stack(make_stack(), leaf(5, 8, dtype=np.float32), recomputed).sum().backward()
        counts.append(stream.count)
    assert counts == [4, 4]


def test_recomputation_keeps_little_between_forward_and_backward(measure_bytes):
    blocks, x = make_stack(depth=6, width=16), leaf(500, 16, dtype=np.float32)
    kept = [measure_bytes(lambda r=r: run_stack(blocks, x, r))[1] for r in (False, True)]
    assert kept[1] < kept[0] / 5


def test_recomputation_leaves_frozen_parameters_alone():
    block = make_stack(depth=1)[0]
    block.freeze("0")
    x = leaf(5, 8, dtype=np.float32)
    recompute(block, x, parameters=list(block.parameters())).sum().backward()
    assert block[0].weight.grad is None
    assert block[3].weight.grad is not None
    assert x.grad is not None


def test_recomputation_records_nothing_where_nothing_is_recorded():
    with no_grad():
        assert not recompute(ops.tanh, leaf(3)).requires_grad
    assert not recompute(ops.tanh, Tensor([1.0])).requires_grad


# Where it would go wrong


def test_a_parameter_that_is_not_listed_is_named_by_its_shape():
    w, listed, x = Parameter(np.ones((2, 3))), Parameter(np.ones(3)), leaf(3)
    loss = recompute(lambda x: x * listed * w, x, parameters=[listed]).sum()
    with pytest.raises(
        InputError, match=r"reads a tensor of shape \[2, 3\] that requires a gradient: list it in param"
    ):
        loss.backward()
    assert listed.grad is None


def test_a_tensor_behind_another_computation_has_to_be_listed_too():
    w, x = leaf(2, 3), leaf(3)
    h = w * 2.0
    with pytest.raises(InputError, match=r"a tensor of shape \[2, 3\]"):
        recompute(lambda x: x * h, x).sum().backward()
    recompute(lambda x: x * h, x, parameters=[h]).sum().backward()
    np.testing.assert_allclose(w.grad, 2.0 * np.tile(x.data, (2, 1)))


def test_what_is_frozen_need_not_be_listed():
    frozen, x = Parameter(np.full(3, 2.0), requires_grad=False), leaf(3)
    recompute(lambda x: x * frozen * np.ones(3), x).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(3, 2.0))


def test_an_unlisted_parameter_inside_an_inner_recomputation_is_found():
    w, x = Parameter(np.ones(3)), leaf(3)
    loss = recompute(lambda x: recompute(lambda y: y * w, x, parameters=[w]), x).sum()
    with pytest.raises(InputError, match="list it in parameters"):
        loss.backward()


def test_weights_changed_between_forward_and_backward_are_refused():
    w, x = Parameter(np.ones(3)), leaf(3)
    loss = recompute(lambda x: x * w, x, parameters=[w]).sum()
    w.mark_changed()
    with pytest.raises(InputError, match=r"^weights of shape \[3\] that recompute read were changed"):
        loss.backward()


def test_a_frozen_weight_that_is_listed_may_not_change_either():
    w, x = Parameter(np.ones(3), requires_grad=False), leaf(3)
    loss = recompute(lambda x: x * w, x, parameters=[w]).sum()
    w.mark_changed()
    with pytest.raises(InputError, match="were changed between"):
        loss.backward()


def test_a_function_that_cuts_its_input_off_gives_no_gradient():
    x = leaf(3)
    cut = recompute(lambda x: x.detach() * 2.0, x)
    (dx,) = gradients((cut + x).sum(), [x])
    np.testing.assert_array_equal(dx, np.ones(3))
    assert gradients(recompute(lambda x: x.detach() * 2.0, x).sum(), [x]) == [None]


def test_of_several_inputs_only_those_that_want_one_get_a_gradient():
    x, constant, y = leaf(3), Tensor(np.full(3, 2.0)), leaf(3, seed=1)
    wanted = []

    def product(*inputs):
        wanted.append([each.requires_grad for each in inputs])
        return inputs[0] * inputs[1] * inputs[2]

    dx, dy = gradients(recompute(product, x, constant, y).sum(), [x, y])
    np.testing.assert_allclose(dx, 2.0 * y.data)
    np.testing.assert_allclose(dy, 2.0 * x.data)
    assert wanted[1] == [True, False, True]


def test_recomputation_runs_the_function_once_more_and_not_before_it_is_needed():
    runs, x = [], leaf(3)
    loss = recompute(lambda x: (runs.append(1), x * 2.0)[1], x).sum()
    assert len(runs) == 1
    loss.backward()
    assert len(runs) == 2
    with pytest.raises(InputError, match="the graph behind sum was used up"):
        loss.backward()
    assert len(runs) == 2
