"""Storage of activations in float16: same forward, half the memory, gradients off by no more than float16 rounds away."""

import gc
import threading
import weakref

import numpy as np
import pytest

from numformer import GPT, InputError, Tensor, gradients, no_grad, ops, recompute, testing
from numformer.autograd import OPS, Op
from numformer.autograd.storage import load, precision, save, storage

CASES = [(op, line) for op in OPS.values() for line in op.shape_lines]
every_case = pytest.mark.parametrize(("op", "line"), CASES, ids=[f"{op.name}: {line.text}" for op, line in CASES])
KEEPERS = [
    *("relu", "tanh", "sigmoid", "silu", "gelu", "exp", "softmax", "log_softmax", "mul", "matmul"),
    *("linear", "layer_norm", "rms_norm", "attention", "cross_entropy", "rope"),
]
in_float16 = "float16-storage"


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def draw(op, line, dtype=np.float32):
    arguments = testing.draw_arguments(line, np.random.default_rng(0), dtype)
    return [abs(a) for a in arguments] if op.name in ("log", "power") else arguments


def run(op, line, arguments, chosen):
    """Return values and gradients of an op whose activations are stored as chosen."""
    with storage(chosen):
        value, vjp = op.value_and_vjp(*arguments, **testing.settings_of(line))
    rng = np.random.default_rng(1)
    return as_tuple(value), as_tuple(vjp(*(rng.standard_normal(np.shape(v)).astype(v.dtype) for v in as_tuple(value))))


def keeping(kept):
    """Return a pullback that shows what it keeps."""

    def vjp(dy):
        return None

    vjp.kept = kept
    return vjp


def kept_of(*arrays):
    """Return what a pullback keeps of arrays that other ops computed."""
    return Op(lambda *xs, need: (np.zeros(()), keeping([save(x, need) for x in xs]))).value_and_vjp(*arrays)[1].kept


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def computed(*shape, seed=0):
    """Return a tensor that an op has computed."""
    return Tensor(normal(*shape, seed=seed), requires_grad=True) * 1.0


# Every op


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_the_same_and_gradients_nearly(op, line, dtype):
    arguments = draw(op, line, dtype)
    values, grads = run(op, line, arguments, "float32")
    stored_values, stored_grads = run(op, line, arguments, in_float16)
    for expected, found in zip(values, stored_values, strict=True):
        np.testing.assert_array_equal(expected, found)
    for expected, found in zip(grads, stored_grads, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            assert found.dtype == dtype
            assert np.linalg.norm(found - expected) <= 2e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", KEEPERS)
def test_a_pullback_keeps_half_the_bytes(name, monkeypatch, measure_bytes):
    monkeypatch.setattr(
        testing, "SIZES", {axis: 4 * length for axis, length in testing.SIZES.items()} | {"B": 90, "N": 90}
    )
    op = OPS[name]
    line = op.shape_lines[0]

    def vjp_of(chosen):
        with storage(chosen):
            return op.value_and_vjp(*draw(op, line), **testing.settings_of(line))[1]

    kept = {chosen: measure_bytes(lambda chosen=chosen: vjp_of(chosen))[1] for chosen in ("float32", in_float16)}
    assert kept[in_float16] < 0.62 * kept["float32"]


def test_an_array_dies_when_its_copy_is_stored():
    with storage(in_float16):
        h = computed(50, 4)
        array = weakref.ref(h.data)
        y = ops.linear(h, Tensor(normal(3, 4), requires_grad=True))
        del h
    assert y.requires_grad
    assert array() is None


# Models


def small_gpt(recomputed=False):
    gpt = GPT(vocab_size=17, d_model=32, num_heads=4, num_layers=3, max_seq_len=24, dropout=0.1)
    gpt.layers.recompute = recomputed
    return gpt


def gpt_loss(gpt, chosen):
    tokens = np.random.default_rng(0).integers(0, 17, (16, 25))
    for site, module in enumerate(m for _, m in gpt.named_modules() if hasattr(m, "reseed")):
        module.reseed(1, site)
    with storage(chosen):
        return ops.cross_entropy(gpt(tokens[:, :-1]).reshape(-1, 17), tokens[:, 1:].reshape(-1))


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_gpt_has_the_same_loss_and_nearly_the_same_gradients(recomputed):
    gpt, expected_gpt = small_gpt(recomputed), small_gpt()
    loss, expected_loss = gpt_loss(gpt, in_float16), gpt_loss(expected_gpt, "float32")
    np.testing.assert_array_equal(loss.data, expected_loss.data)
    grads = gradients(loss, list(gpt.parameters()))
    for found, expected in zip(grads, gradients(expected_loss, list(expected_gpt.parameters())), strict=True):
        assert found.dtype == np.float32
        assert not np.array_equal(found, expected)
        assert np.linalg.norm(found - expected) <= 5e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_gpt_keeps_far_less_between_forward_and_backward(recomputed, measure_bytes):
    gpt = small_gpt(recomputed)
    gpt_loss(gpt, in_float16)  # tables that are made once
    kept = {c: measure_bytes(lambda c=c: gpt_loss(gpt, c))[1] for c in ("float32", in_float16)}
    assert kept[in_float16] < 0.65 * kept["float32"]


def test_recomputation_stores_as_its_first_run_did():
    seen = []

    def block(x):
        seen.append(precision())
        return ops.tanh(x)

    x = computed(3, 4)
    with storage(in_float16):
        y = recompute(block, x)
    gradients(y.sum(), [x])
    assert seen == [in_float16, in_float16]
    assert precision() == "float32"


# One copy of one piece of memory


def test_ops_that_keep_the_same_array_share_one_copy(measure_bytes):
    x = computed(1000, 8).data
    weight = Tensor(normal(1, 8), requires_grad=True)

    def outputs(count):
        h = Tensor(x.copy(), edge=computed(1000, 8).edge)
        with storage(in_float16):
            return [ops.linear(h, weight) for _ in range(count)]

    one, three = (measure_bytes(lambda count=count: outputs(count))[1] for count in (1, 3))
    assert three - one < x.nbytes / 2


def test_views_of_the_same_memory_share_one_copy():
    x = normal(4, 6, 5)
    with storage(in_float16):
        kept = kept_of(x, x.reshape(24, 5), x.transpose(2, 0, 1), x[:, None])
    assert len({id(each.copy) for each in kept}) == 1


def test_a_copy_dies_with_the_last_pullback_that_keeps_it():
    x = normal(4, 6)
    with storage(in_float16):
        (kept,) = kept_of(x)
        copy = weakref.ref(kept.copy)
        del kept
        gc.collect()
        assert copy() is None


BIG = normal(6, 8, 5)
VIEWS = {
    "whole": BIG,
    "other shape": BIG.reshape(-1, 5),
    "transposed": BIG.transpose(1, 2, 0),
    "heads": BIG.reshape(6, 4, 2, 5).transpose(0, 2, 1, 3),
    "first rows": BIG[:2],
    "next rows": BIG[1:4],
    "columns": BIG[..., 1:3],
    "every other": BIG[::2],
    "as many in a row": BIG[:3],
    "backwards": BIG[::-1],
    "row": BIG[3, 2],
    "new axes": BIG[:, None, :, None],
    "repeated": np.broadcast_to(BIG[:1, :, :1], (6, 8, 5)),
    "repeated many times": np.broadcast_to(BIG, (9, 6, 8, 5)),
    "column-major": np.asfortranarray(BIG),
    "sliding": np.lib.stride_tricks.sliding_window_view(BIG.reshape(-1), 7),
    "empty": BIG[:0],
    "one number": BIG[1, 2, 3:4],
    "no axes": BIG[1, 2, 3:4].reshape(()),
    "float64": BIG.astype(np.float64),
    "same bytes, other dtype": BIG.reshape(-1).view(np.float64),
}


def test_views_come_back_with_their_values_and_layout_when_all_are_kept_together():
    with storage(in_float16):
        kept = kept_of(*VIEWS.values())
    for name, view, each in zip(VIEWS, VIEWS.values(), kept, strict=True):
        found = load(each)
        expected = np.clip(view, -65504.0, 65504.0)
        assert found.shape == view.shape, name
        assert found.dtype == view.dtype, name
        np.testing.assert_allclose(found, expected, rtol=2**-11, atol=2**-25, err_msg=name)
    for name in ("whole", "transposed", "heads", "column-major"):
        assert load(kept[list(VIEWS).index(name)]).strides == VIEWS[name].strides, name


def test_a_view_that_repeats_memory_is_left_alone():
    repeated = np.broadcast_to(normal(3), (1000, 3))
    with storage(in_float16):
        assert kept_of(repeated)[0] is repeated


def test_a_piece_of_a_large_buffer_is_stored_alone(measure_bytes):
    buffer = normal(100_000)
    with storage(in_float16):
        _, kept, _ = measure_bytes(lambda: kept_of(buffer[:1000].reshape(10, 100), buffer[1000:2000:2]))
    assert kept < 10_000


def test_memory_that_was_freed_and_used_again_is_stored_again():
    addresses, kept = set(), []
    with storage(in_float16):
        for number in range(50):
            x = np.full((20, 30), number, np.float32)
            addresses.add((id(x), x.ctypes.data))
            kept += kept_of(x)
            del x
    assert len(addresses) < 50
    assert [load(each)[3, 4] for each in kept] == list(range(50))


def test_a_new_context_stores_an_array_anew():
    x = np.zeros((2, 3), np.float32)
    kept = []
    for number in range(2):
        x[...] = number
        with storage(in_float16):
            kept += kept_of(x)
    assert [load(each)[0, 0] for each in kept] == [0.0, 1.0]


# What is stored, and how exactly


def test_parameters_and_other_given_arrays_are_never_converted():
    keep_all = Op(lambda *xs, need: (xs[0] + 0.0, keeping([save(x, need) for x in xs])))
    parameter, given, h = Tensor(normal(4), requires_grad=True), normal(3, 4), computed(3, 4)
    with storage(in_float16):
        kept = keep_all(h, parameter, given, parameter.detach()).edge[0].vjp.kept
    assert [isinstance(each, np.ndarray) for each in kept] == [False, True, True, True]
    assert kept[1] is parameter.data
    assert kept[2] is given


def test_a_view_of_a_parameter_is_never_converted():
    weight = Tensor(normal(6, 4), requires_grad=True)
    with storage(in_float16):
        kept = Op(lambda w, *, need: (w + 0.0, keeping(save(w.reshape(-1), need))))(weight).edge[0].vjp.kept
    assert np.shares_memory(kept, weight.data)


@pytest.mark.parametrize("array", [np.arange(3), np.ones(3, bool), normal(3).astype(np.float16), 2.5, None])
def test_whole_numbers_masks_and_scalars_are_left_alone(array):
    with storage(in_float16):
        (kept,) = kept_of(array)
    assert load(kept) is array


def test_values_beyond_float16_become_the_largest_there_is():
    x = np.array([1e6, -1e6, np.inf, -np.inf, 65504.0, 70000.0, 1.0, np.nan], np.float32)
    with storage(in_float16):
        (kept,) = kept_of(x)
    np.testing.assert_array_equal(load(kept), [65504, -65504, 65504, -65504, 65504, 65504, 1, np.nan])


def test_gradients_stay_finite_where_activations_leave_float16():
    x = Tensor(np.array([[3e5, -2e5, 1.0]], np.float32), requires_grad=True)
    weight = Tensor(normal(2, 3), requires_grad=True)
    with storage(in_float16):
        loss = ops.linear(ops.silu(x * 1.0), weight).sum()
    assert all(np.isfinite(grad).all() for grad in gradients(loss, [x, weight]))


def test_small_values_keep_what_float16_can_hold():
    x = (10.0 ** np.linspace(-12, -3, 1000) * np.random.default_rng(0).choice([-1.0, 1.0], 1000)).astype(np.float32)
    with storage(in_float16):
        (kept,) = kept_of(x)
    np.testing.assert_allclose(load(kept), x, rtol=2**-11, atol=2**-24)


# The context


def test_without_the_context_an_array_is_kept_as_it_is():
    x = normal(3, 4)
    with storage("float32"):
        assert kept_of(x)[0] is x
    assert kept_of(x)[0] is x
    assert load(x) is x


def test_nothing_is_stored_where_nothing_is_recorded():
    kept = []
    keep = Op(lambda x, *, need: (x, kept.extend([x, save(x, need), save(x + 1.0, need)])))
    with storage(in_float16), no_grad():
        keep(computed(3, 4))
    assert kept[1] is kept[0]
    assert isinstance(kept[2], np.ndarray)


def test_the_context_ends_with_its_block_even_after_an_error():
    with pytest.raises(KeyError), storage(in_float16):
        raise KeyError
    assert precision() == "float32"


def test_contexts_nest():
    with storage(in_float16):
        with storage("float32"):
            assert precision() == "float32"
        assert precision() == in_float16


def test_the_context_holds_for_its_thread_only():
    seen = []
    with storage(in_float16):
        thread = threading.Thread(target=lambda: seen.append(precision()))
        thread.start()
        thread.join()
    assert seen == ["float32"]


def test_threads_that_store_at_once_get_the_gradients_of_one_thread():
    weight, bias = Tensor(normal(16, 16, seed=1), requires_grad=True), Tensor(normal(16), requires_grad=True)

    def work(number, results):
        for repeat in range(10):
            h = Tensor(normal(40, 16), requires_grad=True) * 1.0
            with storage(in_float16):
                for _ in range(4):
                    h = ops.layer_norm(h + ops.gelu(ops.linear(h, weight, bias)), bias, bias)
            results[number, repeat] = gradients((h * h).sum(), [weight, bias])

    alone, together = {}, {}
    work(0, alone)
    threads = [threading.Thread(target=work, args=(number, together)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 40
    for found in together.values():
        for ours, expected in zip(found, alone[0, 0], strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_an_unknown_precision_is_named():
    with (
        pytest.raises(InputError, match="precision must be float32 or float16-storage, got 'float16'"),
        storage("float16"),
    ):
        pass
