import gc
import threading
import weakref

import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, no_grad, ops, random, recompute
from numformer.autograd import Op
from numformer.nn import GELU, Dropout, LayerNorm, Linear, Sequential


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


# What the walk returns and what it leaves alone


def test_gradients_touches_no_grad_attribute():
    x, w = leaf(3), leaf(3, seed=1)
    found = gradients((x * w).sum(), [x, w])
    np.testing.assert_array_equal(found[0], w.data)
    np.testing.assert_array_equal(found[1], x.data)
    assert x.grad is None
    assert w.grad is None


def test_gradients_is_none_for_what_the_output_does_not_depend_on():
    x, other, constant = leaf(3), leaf(3), Tensor(np.ones(3))
    assert gradients(x.sum(), [other, constant]) == [None, None]


def test_every_wanted_tensor_gets_its_whole_gradient_though_one_was_computed_from_another():
    x = leaf(3)
    h1 = x * 2.0
    h2 = h1 * h1
    dx, dh1, dh2 = gradients((h2 * 3.0 + h1 + x).sum(), [x, h1, h2])
    np.testing.assert_allclose(dh2, np.full(3, 3.0))
    np.testing.assert_allclose(dh1, 6.0 * h1.data + 1.0)
    np.testing.assert_allclose(dx, 2.0 * (6.0 * h1.data + 1.0) + 1.0)


def test_backward_adds_to_grad():
    x = leaf(3)
    (x * 2.0).sum().backward()
    (x * 5.0).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(3, 7.0))


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (lambda x: x + x, 2.0),
        (lambda x: x + x + x + x, 4.0),
        (lambda x: x + (x + x) * 1.0, 3.0),
        (lambda x: x.reshape(3, 2).reshape(2, 3) + x, 2.0),
        (lambda x: ops.concat(x, x, axis=0)[:2] + x, 2.0),
    ],
    ids=["twice", "four times", "residual", "views", "concat"],
)
def test_a_shared_upstream_gradient_is_never_written_to(function, factor):
    x, dy = leaf(2, 3), np.random.default_rng(1).standard_normal((2, 3))
    before = dy.copy()
    (dx,) = gradients(function(x), [x], dy)
    np.testing.assert_array_equal(dy, before)
    np.testing.assert_allclose(dx, factor * dy)


def test_an_ops_own_gradients_are_never_written_to():
    shared = np.ones(3)
    give_shared = Op(lambda x, y: (x + y, lambda dz: (shared, shared)))
    x = leaf(3)
    h = x * 1.0
    (dx,) = gradients(give_shared(h, h) + give_shared(h, h), [x], np.ones(3))
    np.testing.assert_array_equal(shared, np.ones(3))
    np.testing.assert_array_equal(dx, np.full(3, 4.0))


def test_grad_belongs_to_its_tensor_alone():
    x, y, dz = leaf(3), leaf(3), np.ones(3)
    (x + y).backward(dz)
    x.grad *= 5.0
    np.testing.assert_array_equal(y.grad, np.ones(3))
    np.testing.assert_array_equal(dz, np.ones(3))


def test_a_diamond_is_walked_once_with_both_branches():
    x = leaf(4)
    h = ops.tanh(x)
    (h * h + h).sum().backward()
    np.testing.assert_allclose(x.grad, (2.0 * h.data + 1.0) * (1.0 - h.data**2))


def test_a_chain_of_diamonds_is_not_walked_once_per_path():
    x = y = leaf(2)
    for _ in range(60):  # 2⁶⁰ paths
        y = y * 0.5 + y * 0.5
    np.testing.assert_allclose(gradients(y.sum(), [x])[0], 1.0)


def test_a_chain_of_5000_ops_needs_no_recursion():
    x = y = leaf(2)
    for _ in range(5000):
        y = y + 1.0
    np.testing.assert_array_equal(gradients(y.sum(), [x])[0], np.ones(2))


def test_one_result_of_several_may_be_used_alone():
    x = leaf(2, 6)
    _, second, _ = ops.split(x, sections=3)
    (dx,) = gradients(second.sum(), [x])
    np.testing.assert_array_equal(dx, np.repeat([[0.0, 1.0, 0.0]], 2, axis=1).repeat(2, axis=0).reshape(2, 6))


def test_gradients_have_the_dtype_of_the_output():
    x = leaf(2, dtype=np.float32)
    assert gradients(x * 2.0, [x], np.ones(2))[0].dtype == np.float32


# Memory


def make_keeper(kept):
    def body(x):
        array = x + 1.0
        kept.append(weakref.ref(array))
        return array.sum(keepdims=True), lambda dy: dy * array

    return Op(body)


def test_what_a_pullback_kept_dies_as_soon_as_it_was_used():
    kept, alive_at_the_end = [], []
    keeper = make_keeper(kept)
    look = Op(lambda x: (x * 1.0, lambda dy: (alive_at_the_end.append(kept[0]() is not None), dy)[1]))
    loss = keeper(look(leaf(1)))
    assert kept[0]() is not None
    loss.backward()
    assert alive_at_the_end == [False]


def test_a_graph_that_nobody_holds_dies_without_a_backward():
    kept = []
    out = make_keeper(kept)(leaf(3))
    del out
    gc.collect()
    assert kept[0]() is None


FORGETFUL = {
    "add": lambda h: h + leaf(2, 3, 4),
    "sub": lambda h: leaf(2, 3, 4) - h,
    "mul": lambda h: h * 2.0,
    "where": lambda h: ops.where(np.ones(4, bool), h, 0.0),
    "sum": lambda h: h.sum(axis=1),
    "mean": lambda h: h.mean(axis=1),
    "index": lambda h: h[[0, 1]],
    "concat": lambda h: ops.concat(h, h),
    "matmul": lambda h: h @ np.ones((4, 2)),
    "frozen linear": lambda h: ops.linear(h, np.ones((5, 4))),
    "layer_norm": lambda h: ops.layer_norm(h, leaf(4), leaf(4)),
    "rms_norm": lambda h: ops.rms_norm(h, leaf(4)),
    "tanh": ops.tanh,
    "gelu": ops.gelu,
    "softmax": ops.softmax,
    "dropout": lambda h: ops.dropout(h, p=0.5, key=(1,)),
    "cross_entropy": lambda h: ops.cross_entropy(h[:, 0], np.array([1, 2])),
    "queries": lambda h: ops.attention(h[:, None], leaf(2, 1, 3, 4), leaf(2, 1, 3, 4)),
}


@pytest.mark.parametrize("name", FORGETFUL)
def test_an_array_that_no_pullback_needs_dies_at_once(name):
    h = leaf(2, 3, 4) * 1.0
    array = weakref.ref(h.data)
    y = FORGETFUL[name](h)
    del h
    assert y.requires_grad
    assert array() is None


# Misuse


def test_a_second_backward_says_what_to_do():
    loss = (leaf(3) * 2.0).sum()
    loss.backward()
    with pytest.raises(InputError, match="used up by an earlier backward; run the forward again"):
        loss.backward()


def test_a_tensor_without_history_cannot_be_differentiated():
    with pytest.raises(InputError, match="nothing to differentiate"):
        Tensor([1.0]).backward()


def test_only_a_scalar_goes_without_a_gradient():
    with pytest.raises(InputError, match=r"needs a scalar, got a tensor of shape \(3,\)"):
        (leaf(3) * 2.0).backward()


def test_the_gradient_must_have_the_shape_of_the_tensor():
    with pytest.raises(InputError, match=r"has shape \(2,\), but the tensor it belongs to has shape \(3,\)"):
        (leaf(3) * 2.0).backward(np.ones(2))


# Recording or not


def test_no_grad_records_nothing():
    x = leaf(3)
    with no_grad():
        y = x * 2.0
    assert not y.requires_grad
    assert (x * 2.0).requires_grad


def test_recording_resumes_after_an_error():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (leaf(1) * 2.0).requires_grad


def test_no_grad_holds_for_its_thread_only():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((leaf(1) * 2.0).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_arrays_stay_arrays():
    assert type(ops.tanh(np.ones(3))) is np.ndarray


def test_an_op_may_call_other_ops():
    outer = Op(lambda x: (ops.tanh(np.ones(2)) * x, lambda dy: dy * ops.tanh(np.ones(2))))
    x = leaf(2)
    (dx,) = gradients(outer(x), [x], np.ones(2))
    np.testing.assert_allclose(dx, np.tanh(1.0))


def test_an_optional_argument_may_be_given_as_none():
    x, weight = leaf(2, 3), leaf(4, 3)
    with_none = gradients(ops.linear(x, weight, None).sum(), [x, weight])
    for a, b in zip(with_none, gradients(ops.linear(x, weight).sum(), [x, weight]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_linear_computes_no_gradient_that_nobody_wants():
    x, weight, bias = leaf(2, 3), leaf(4, 3), leaf(4)
    frozen = ops.linear(x, weight.detach(), bias.detach())
    _, dweight, dbias = frozen.edge[0].vjp(np.ones((2, 4)))
    assert dweight is None
    assert dbias is None
    first_layer = ops.linear(x.detach(), weight, bias)
    assert first_layer.edge[0].vjp(np.ones((2, 4)))[0] is None


def test_threads_sharing_a_model_get_the_bits_of_one_thread():
    model = Sequential(Linear(6, 16), GELU(), Dropout(0.3), LayerNorm(16), Linear(16, 2))
    parameters = list(model.parameters())
    batches = [np.random.default_rng(i).standard_normal((50, 6)).astype(np.float32) for i in range(8)]
    results = {}

    def work(i):
        for repeat in range(5):
            with random.use(random.Stream(1, i)):
                results[i, repeat] = gradients((model(batches[i]) * 1.0).sum(), parameters)

    alone = dict.fromkeys(range(8))
    for i in alone:
        work(i)
        alone[i] = results[i, 0]
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (i, _), found in results.items():
        for ours, expected in zip(found, alone[i], strict=True):
            np.testing.assert_array_equal(ours, expected)


# Recomputation


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
