import copy
import errno
import gc
import mmap
import os
import pickle
import weakref

import numpy as np
import pytest

from numformer import nn, random
from numformer.autograd import Tensor, inference, no_grad
from numformer.autograd.array import memory_of
from numformer.models import Llama, Qwen2
from numformer.nn import init
from numformer.nn.capture import capture
from numformer.nn.flat import FEW_ROWS, JointLinear, flatten_parameters

SIZES = {"vocab_size": 40, "d_model": 16, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2, "max_seq_len": 32}


@pytest.fixture
def part():
    """A part with two maps of the same input and one of another width between them."""
    generator = random.generator(0)
    module = nn.FeedForward(6, 10, gated=True, generator=generator)
    for parameter in module.parameters():
        parameter.data[...] += generator.standard_normal(parameter.shape, dtype="float32")
    return module


@pytest.fixture
def x():
    return random.generator(1).standard_normal((1, 3, 6), dtype="float32")


def outputs(part, x):
    return [part.linear1(x).data, part.linear3(x).data]


def joint(part, x):
    with inference():
        return JointLinear()(x, part.linear1, part.linear3)


def test_flattening_changes_no_value(part):
    before = part.state_dict()
    flatten_parameters(part)
    assert all(np.array_equal(before[name], value) for name, value in part.state_dict().items())


class Scaled(nn.Module):
    """A part with a matrix that is drawn and one that is given."""

    def __init__(self):
        self.linear = nn.Linear(4, 4)
        self.scale = nn.Parameter(np.full((4, 4), 3.0, np.float32))


def test_a_matrix_that_was_given_keeps_its_values_in_a_model_that_is_not_drawn_yet():
    with init.undrawn():
        layer = nn.Stack([Scaled()])[0]
    assert (layer.scale.data == 3.0).all()
    assert not layer.linear.weight.data.any()


def test_shapes_without_memory_get_none():
    with init.shapes_only():
        layer = nn.Stack([nn.EncoderLayer(8, 2, 16)])[0]
    assert layer.feed_forward.linear1.weight.data.strides == (0, 0)


def test_a_layer_of_a_stack_lies_in_one_array():
    layer = nn.Stack([nn.EncoderLayer(8, 2, 16)])[0]
    assert len({id(parameter.data.base) for parameter in layer.parameters()}) == 1


def test_a_large_layer_lies_in_memory_of_its_own_and_is_drawn():
    layer = nn.Stack([nn.EncoderLayer(512, 2, 2048)])[0]
    assert layer.feed_forward.linear1.weight.data.std() > 0
    layer.feed_forward.linear1.weight.data[...] = 1.0  # it can be written to
    assert layer.self_attn.q_proj.weight.data.max() < 1.0


def test_one_product_gives_what_the_maps_give_alone(part, x):
    flatten_parameters(part)
    for mine, alone in zip(joint(part, x), outputs(part, x), strict=True):
        np.testing.assert_allclose(mine, alone, rtol=1e-5, atol=1e-6)


def test_a_new_value_in_place_is_seen(part, x):
    flatten_parameters(part)
    together = JointLinear()
    with inference():
        together(x, part.linear1, part.linear3)
        part.linear1.weight.data *= 2.0
        part.linear3.bias.data += 1.0
        found = together(x, part.linear1, part.linear3)
    np.testing.assert_allclose(found[0], part.linear1(x).data, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], part.linear3(x).data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", ["linear1", "linear3"])
def test_weights_that_were_replaced_are_not_used_any_more(part, x, which):
    flatten_parameters(part)
    together = JointLinear()
    with inference():
        assert together(x, part.linear1, part.linear3) is not None
        getattr(part, which).weight.data = getattr(part, which).weight.data * 2.0
        assert together(x, part.linear1, part.linear3) is None


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copy_of_a_used_model_reads_its_own_weights(copied):
    model, tokens = Llama(**SIZES), np.array([[3, 1, 2]])
    with inference():
        model(tokens)
        twin = copied(model)
        for parameter in twin.layers.parameters():
            parameter.data *= 3.0
        mine = twin(tokens).data
    with no_grad():
        np.testing.assert_allclose(mine, twin.eval()(tokens).data, rtol=1e-4, atol=1e-5)


def test_maps_that_do_not_lie_side_by_side_stay_alone(part, x):
    assert joint(part, x) is None


@pytest.mark.parametrize("reversed_axes", [True, False], ids=["the other way round", "of another type"])
def test_maps_side_by_side_in_memory_that_is_laid_out_otherwise_give_what_they_give_alone(reversed_axes, part, x):
    table = random.generator(3).standard_normal((20, 6), dtype="float32")
    if reversed_axes:
        rows = np.array(table.T, order="F").T
    else:
        rows = np.frombuffer(table.tobytes(), np.uint8).view(np.float32).reshape(20, 6)
    part.linear1.weight.data, part.linear3.weight.data = rows[:10], rows[10:]
    part.linear1.bias = part.linear3.bias = None
    found, alone = joint(part, x), outputs(part, x)
    assert found is None or all(map(np.array_equal, found, alone))


def test_many_rows_stay_alone(part):
    flatten_parameters(part)
    rows = np.ones((1, FEW_ROWS + 1, 6), np.float32)
    assert joint(part, rows[:, 1:]) is not None
    assert joint(part, rows) is None


def test_a_recorded_call_stays_alone(part, x):
    flatten_parameters(part)
    assert JointLinear()(x, part.linear1, part.linear3) is None


def test_a_map_with_a_forward_of_its_own_is_called(part, x):
    flatten_parameters(part)
    part.linear3.forward = lambda x: x * 0.0
    assert joint(part, x) is None


def test_who_looks_on_sees_the_single_maps():
    model, tokens = Llama(**SIZES), np.array([[3, 1, 2]])
    with inference(), capture(model, ["layers.0.self_attn.q_proj"]) as seen:
        model(tokens)
    assert seen.tensors["layers.0.self_attn.q_proj"].shape == (1, 3, 16)


def test_prediction_of_a_llama_is_that_of_its_single_maps():
    model, tokens = Llama(**SIZES).eval(), np.array([[3, 1, 2, 7]])
    with inference():
        together = model(tokens).data
    assert model.layers[0].self_attn._joint._found.joined is not None
    assert model.layers[0].feed_forward._joint._found.joined is not None
    np.testing.assert_allclose(together, model(tokens).data, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", ["self_attn.q_proj.weight", "self_attn.v_proj.bias", "feed_forward.linear3.weight"])
@pytest.mark.parametrize("kind", [np.asarray, Tensor], ids=["array", "tensor"])
def test_a_copy_that_is_bound_to_other_values_reads_them(part, kind):
    model, tokens, name = Qwen2(**SIZES).eval(), np.array([[3, 1, 2]]), f"layers.0.{part}"
    value = model.state_dict()[name] + random.generator(2).standard_normal(1, dtype="float32")
    with inference():
        before = model(tokens).data
        bound = model.bind({name: kind(value)})(tokens).data
        np.testing.assert_array_equal(model(tokens).data, before)
    model.load_state_dict({name: value}, strict=False)
    np.testing.assert_allclose(bound, model(tokens).data, rtol=1e-4, atol=1e-5)


def test_weights_that_training_replaces_leave_the_memory(part, x):
    flatten_parameters(part)
    memory = weakref.ref(memory_of(part.linear1.weight.data))
    with inference():
        part(x)
    part.astype("float64")  # as the processes of a training move them
    part(x)
    gc.collect()
    assert memory() is None


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="the system has no large pages")
def test_a_layer_that_no_memory_is_left_for_is_a_memory_error(monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(mmap, "mmap", fail)
    with pytest.raises(MemoryError):
        nn.Stack([nn.EncoderLayer(512, 2, 2048)])
