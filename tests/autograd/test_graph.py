import copy
import gc
import threading
import weakref

import numpy as np
import pytest

from numformer import InputError, Parameter, Tensor, gradients, no_grad, ops, random
from numformer.autograd import Op
from numformer.nn import GELU, Dropout, LayerNorm, Linear, Sequential


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype), requires_grad=True)


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


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)], ids=str)
def test_gradients_are_arrays_also_without_axes(shape):
    x = leaf(*shape)
    for _ in range(2):
        loss = (x * np.ones((2, 3)) + x).sum() + x.sum()
        (dx,) = gradients(loss, [x])
        assert isinstance(dx, np.ndarray)
        assert dx.shape == shape
        (x * 2.0 + x).backward(np.ones(shape))
        assert isinstance(x.grad, np.ndarray)
    np.testing.assert_array_equal(x.grad, np.full(shape, 6.0))


def test_a_mapping_of_names_gives_a_mapping_of_gradients():
    x, other = leaf(3), leaf(3)
    h = x * 2.0
    found = gradients((h * h).sum(), {"x": x, ("h", 1): h, "other": other})
    assert list(found) == ["x", ("h", 1), "other"]
    np.testing.assert_allclose(found["h", 1], 2.0 * h.data)
    np.testing.assert_allclose(found["x"], 4.0 * h.data)
    assert found["other"] is None
    assert gradients((x * 2.0).sum(), {}) == {}


def test_the_output_itself_may_be_wanted_and_a_tensor_may_be_wanted_twice():
    x = leaf(3)
    y = x * 2.0
    dx, dy, again = gradients(y, [x, y, x], np.arange(3.0))
    np.testing.assert_array_equal(dy, np.arange(3.0))
    np.testing.assert_array_equal(dx, 2.0 * np.arange(3.0))
    np.testing.assert_array_equal(again, dx)


def test_the_walk_does_not_go_past_what_it_shall_stop_at():
    x = leaf(3)
    h = x * 2.0
    y = h * h + x * 3.0
    dx, dh = gradients(y.sum(), [x, h], stop=[h])
    np.testing.assert_allclose(dh, 2.0 * h.data)
    np.testing.assert_array_equal(dx, np.full(3, 3.0))  # what came through h is left out
    np.testing.assert_array_equal(gradients(h.sum(), [x])[0], np.full(3, 2.0))  # and is not used up


def test_stopping_at_one_result_of_an_op_lets_the_other_one_pass():
    x = leaf(2, 6)
    first, second = ops.split(x, sections=2)
    dx, dfirst = gradients((first * 2.0 + second * 3.0).sum(), [x, first], stop=[first])
    np.testing.assert_array_equal(dfirst, np.full((2, 3), 2.0))
    np.testing.assert_array_equal(dx, np.hstack([np.zeros((2, 3)), np.full((2, 3), 3.0)]))


def test_stopping_at_the_output_gives_its_gradient_alone():
    x = leaf(3)
    y = x * 2.0
    dx, dy = gradients(y, [x, y], np.ones(3), stop=[y])
    assert dx is None
    np.testing.assert_array_equal(dy, np.ones(3))
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.full(3, 2.0))


def make_watcher():
    """Return an op that passes its argument on, and the list of the names whose pullbacks ran."""
    ran = []

    def watched(name):
        return Op(lambda x: (x * 1.0, lambda dy: (ran.append(name), dy)[1]))

    return watched, ran


def test_only_pullbacks_on_the_way_to_what_is_wanted_run():
    watched, ran = make_watcher()
    x, other = leaf(3), leaf(3)
    h = watched("below h")(x)
    side = watched("side")(other)
    loss = (watched("above h")(h) + side).sum()
    gradients(loss, [h])
    assert ran == ["above h"]
    gradients(h.sum(), [x])
    assert ran == ["above h", "below h"]
    gradients(side.sum(), [other])
    assert ran == ["above h", "below h", "side"]


def test_nothing_wanted_runs_nothing():
    watched, ran = make_watcher()
    x = leaf(3)
    assert gradients(watched("only")(x).sum(), []) == []
    assert gradients(watched("only")(x).sum(), [Tensor(np.ones(3)), leaf(3)]) == [None, None]
    assert ran == []


def test_pullbacks_run_from_the_youngest_to_the_oldest_each_once():
    watched, ran = make_watcher()
    x = leaf(3)
    a = watched("a")(x)
    b = watched("b")(a)
    c = watched("c")(a + b)
    d = watched("d")(b + c + a)
    (d + c).sum().backward()
    assert ran == ["d", "c", "b", "a"]


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


def test_a_part_that_was_used_up_says_so_though_the_rest_is_new():
    h = leaf(3) * 2.0
    h.sum().backward()
    loss = (h * 3.0).sum()
    with pytest.raises(
        InputError, match=r"^the graph behind mul was used up by an earlier backward; run the forward again$"
    ):
        loss.backward()


@pytest.mark.parametrize("wanted", ["first", "second"])
def test_what_a_used_up_part_may_have_led_to_is_not_taken_for_independent(wanted):
    tensors = {"first": leaf(3), "second": leaf(3)}
    h = tensors["first"] * tensors["second"]
    gradients(h.sum(), [tensors["first"]])
    with pytest.raises(InputError, match="used up"):
        gradients((h * 2.0).sum(), [tensors[wanted]])


def test_a_used_up_part_does_not_hinder_what_goes_around_it():
    x, w = leaf(3), leaf(3)
    h = x * 2.0
    h.sum().backward()
    (dw,) = gradients((h * w).sum(), [w], stop=[h])
    np.testing.assert_array_equal(dw, h.data)


def test_a_pullback_that_fails_is_not_used_up():
    calls = []

    def vjp(dy):
        calls.append(1)
        if len(calls) == 1:
            raise KeyError
        return dy

    x = leaf(3)
    y = Op(lambda x: (x * 1.0, vjp))(x)
    with pytest.raises(KeyError):
        y.backward(np.ones(3))
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.ones(3))


def test_a_leaf_that_nobody_holds_any_more_gets_no_gradient():
    x = leaf(3)
    loss = (leaf(3) * x).sum()
    loss.backward()
    assert x.grad is not None


# Weights that change between forward and backward


def changed(parameter):
    parameter.data *= 2.0
    parameter.mark_changed()


CHANGED = (
    r"^weights of shape \[3\] that mul read were changed between the forward and the backward.*run the forward again$"
)


def test_weights_changed_since_the_forward_are_refused_in_one_sentence():
    w, x = Parameter(np.arange(3.0)), leaf(3)
    loss = (x * w).sum()
    changed(w)
    with pytest.raises(InputError, match=CHANGED):
        loss.backward()
    assert w.grad is None
    assert x.grad is None


@pytest.mark.parametrize("times", [1, 2, 5])
def test_every_change_counts(times):
    w = Parameter(np.arange(3.0))
    loss = (w * 2.0).sum()
    assert w.version == 0
    for _ in range(times):
        changed(w)
    assert w.version == times
    with pytest.raises(InputError, match=CHANGED):
        gradients(loss, [w])
    (w * 2.0).sum().backward()
    np.testing.assert_array_equal(w.grad, np.full(3, 2.0))


def test_weights_may_change_after_their_pullback_ran_or_where_it_does_not_run():
    w, other = Parameter(np.arange(3.0)), Parameter(np.arange(3.0))
    h = w * 2.0
    loss = (h + other * 3.0).sum()
    changed(other)
    np.testing.assert_array_equal(gradients(loss, [w])[0], np.full(3, 2.0))
    assert changed(w) is None


def test_a_frozen_weight_that_a_pullback_reads_counts_too():
    w, x = Parameter(np.arange(3.0), requires_grad=False), leaf(3)
    loss = (x * w).sum()
    changed(w)
    with pytest.raises(InputError, match=CHANGED):
        loss.backward()


def test_a_twin_counts_its_own_changes():
    w = Parameter(np.arange(3.0))
    changed(w)
    twin = copy.deepcopy(w)
    loss = (twin * 2.0).sum()
    changed(w)
    loss.backward()
    np.testing.assert_array_equal(twin.grad, np.full(3, 2.0))


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


def test_threads_that_call_backward_on_one_model_lose_no_gradient():
    w, rounds, count = Parameter(np.zeros((200, 200))), 25, 8
    ready = threading.Barrier(count)

    def work():
        ready.wait()
        for _ in range(rounds):
            (w * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(w.grad, np.full(w.shape, rounds * count))


# What a caller reuses


def test_ids_and_targets_may_be_overwritten_before_the_backward_pass():
    ids, targets, positions = np.array([[1, 2, 1]]), np.array([0, 1]), np.array([1, 0])
    weight, x, logits = leaf(4, 2), leaf(2, 3, 2), leaf(2, 3)

    def losses():
        embedded = ops.embedding(ids, weight).sum() + ops.embedding_bag(ids[None] * 1, weight, padding_id=0).sum()
        rotated = ops.rope(x[:, None], np.tile(positions.repeat([1, 2]), (2, 1)))
        return embedded + ops.cross_entropy(logits, targets) + ops.take_position(x, positions).sum() + rotated.sum()

    expected = gradients(losses(), [weight, x, logits])
    loss = losses()
    for buffer in (ids, targets, positions):
        buffer[...] = 0
    for ours, theirs in zip(gradients(loss, [weight, x, logits]), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("op", [ops.embedding, ops.embedding_bag], ids=lambda op: op.name)
@pytest.mark.parametrize("num_rows", [4, 300])
def test_a_buffer_of_ids_may_be_filled_anew(op, num_rows):
    ids, weight = np.array([[1, 2, 1]]), leaf(num_rows, 2)
    given = ids if op is ops.embedding else ids[None].view()
    expected = gradients(op(given, weight).sum(), [weight])[0]
    loss = op(given, weight).sum()
    ids[...] = 0
    np.testing.assert_array_equal(gradients(loss, [weight])[0], expected)


@pytest.mark.parametrize(
    "key",
    [np.array([1, 0, 1]), [1, 0, 1], [[1, 0], [1, 1]], (np.array([1, 0]), np.array([2, 2])), (slice(None), [0, 2])],
    ids=repr,
)
def test_a_key_may_be_overwritten_before_the_backward_pass(key):
    x = leaf(2, 3)
    expected = gradients(x[key].sum(), [x])[0]
    loss = x[key].sum()
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, list):
            (part[0] if isinstance(part[0], list) else part)[:] = [0] * len(part)
        elif isinstance(part, np.ndarray):
            part[...] = 0
    np.testing.assert_array_equal(gradients(loss, [x])[0], expected)


def test_a_tensor_of_integers_may_be_overwritten_after_it_was_a_key():
    x, key = leaf(2, 3), Tensor([1, 1])
    loss = x[key].sum()
    key.data[...] = 0
    np.testing.assert_array_equal(gradients(loss, [x])[0], [[0.0] * 3, [2.0] * 3])
