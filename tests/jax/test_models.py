"""Whole models under JAX: every architecture of the registry with each of its heads, against its own run in NumPy."""

import dataclasses

import numpy as np
import pytest

from numformer import gradients, nn
from numformer.models import build_model
from numformer.models.build import tasks_of
from numformer.models.registry import ARCHITECTURES
from numformer.nn.lora import add_lora

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

SIZES = {"vocab_size": 11, "src_vocab_size": 11, "tgt_vocab_size": 11, "d_model": 16, "num_heads": 2, "d_ff": 20}
SIZES |= {"num_layers": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 9, "dropout": 0.0}
SIZES |= {"num_kv_heads": 1, "head_dim": 8, "num_buckets": 8, "max_distance": 16}
WINDOWS = {"sliding_window": 3, "layer_types": ("sliding_attention", "full_attention")}
IDS = np.array([[1, 4, 5, 6, 7, 0, 0], [2, 4, 4, 8, 3, 5, 9]])
REAL = IDS != 0
CASES = [(name, task) for name, architecture in ARCHITECTURES.items() for task in tasks_of(architecture)]
every_case = pytest.mark.parametrize(("name", "task"), CASES, ids=[f"{name} {task}" for name, task in CASES])


def config_of(name, **settings):
    kind = ARCHITECTURES[name].config
    fields = {field.name for field in dataclasses.fields(kind)}
    sizes = SIZES | (WINDOWS if "layer_types" in fields else {"sliding_window": 3}) | settings
    return kind(**{key: value for key, value in sizes.items() if key in fields})


def batch_for(task, model):
    """Return what the model is called with, the targets of its output, and the loss that compares them."""
    inputs = {"lm": {"tokens": IDS}, "seq2seq": {"src": IDS, "tgt": IDS[:, :5]}}
    inputs = inputs.get(task, {"tokens": IDS, "mask": REAL})
    shape = model(**inputs).shape
    if task in ("regress", "embed"):
        return inputs, np.random.default_rng(1).standard_normal(shape), nn.MSELoss()
    targets = np.random.default_rng(1).integers(0, shape[-1], shape[:-1])
    targets.flat[1] = -100  # which does not count
    return inputs, targets, nn.CrossEntropyLoss()


def differentiable(model, loss):
    """Return the loss and the output of a model as a function of parameters, inputs and targets."""

    def loss_and_output(params, inputs, targets):
        output = model.bind(params)(**inputs)
        return loss(output, targets), output

    return jax.value_and_grad(loss_and_output, has_aux=True)


def arrays_of(model):
    return {name: parameter.data for name, parameter in model.named_parameters()}


def assert_near(found, expected, tolerance):
    """Compare dicts of arrays, relative to the largest number of all."""
    largest = max(np.abs(array).max() for array in expected.values())
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * largest, err_msg=name)


def compare(model, batch, function, tolerance):
    """Compare output, loss and gradients of a function such as `differentiable` makes with those of NumPy."""
    inputs, targets, loss = batch
    output = model(**inputs)
    value = loss(output, targets)
    expected = gradients(value, dict(model.named_parameters()))
    expected = {
        name: np.zeros(p.shape) if expected[name] is None else expected[name] for name, p in model.named_parameters()
    }
    (found_value, found_output), found = function(arrays_of(model), *jax.tree.map(jax.numpy.asarray, (inputs, targets)))
    assert_near({"output": found_output}, {"output": output.data}, tolerance)
    assert_near({"loss": found_value}, {"loss": value.data}, tolerance)
    assert_near(found, expected, tolerance)


@every_case
def test_output_loss_and_gradients_are_those_of_numpy(name, task, randomise, float64):
    """Step by step, which compiles every operation once for all models."""
    model = randomise(build_model(config_of(name), task))
    batch = batch_for(task, model)
    compare(model, batch, differentiable(model, batch[2]), 1e-9)


@every_case
def test_a_whole_step_can_be_compiled(name, task):
    """Traced, with ids, masks and targets as arguments: nothing asks for values that are not there yet."""
    model = build_model(config_of(name), task)
    inputs, targets, loss = batch_for(task, model)
    jax.jit(differentiable(model, loss)).trace(arrays_of(model), inputs, targets)


@pytest.mark.parametrize(("name", "task"), [("llama", "lm"), ("t5", "seq2seq"), ("bert", "classify")])
def test_a_compiled_step_gives_what_numpy_gives_in_float32(name, task):
    model = build_model(config_of(name), task)
    batch = batch_for(task, model)
    compare(model, batch, jax.jit(differentiable(model, batch[2])), 1e-5)


# What models take and can be besides

FIRST, MAX = {"pooling": "first"}, {"vector": "max", "normalize": True}
PLACES, SEGMENTS = np.array([1, 3, 9]), np.array([[0, 0, 0, 1, 1, 2, 2]] * 2)
WAYS = {
    "texts side by side in a row": ("llama", "lm", {}, {}, {"segments": SEGMENTS}),
    "learned positions of segments": ("gpt2", "lm", {}, {}, {"segments": SEGMENTS}),
    "logits at some places": ("gpt2", "lm", {}, {}, {"at": PLACES}),
    "logits at the last tokens": ("qwen3", "lm", {}, {}, {"last": np.array([4, 6])}),
    "a pair of texts": ("bert", "classify", {}, FIRST, {"mask": REAL, "segments": SEGMENTS // 2}),
    "the last real token": ("gpt2", "classify", {}, FIRST, {"mask": REAL}),
    "the largest of every number": ("bert", "embed", {}, MAX, {"mask": REAL}),
    "the first vector": ("roberta", "embed", {}, {"vector": "cls"}, {"mask": REAL}),
    "features of words": ("bert", "tag", {}, {}, {"tokens": np.stack([IDS, IDS[::-1]], axis=-1)}),
    "positions that are learned": ("transformer", "seq2seq", {"positions": "learned"}, {}, {"src": IDS, "tgt": IDS}),
    "norms after the parts": ("transformer", "seq2seq", {"pre_norm": False}, {}, {"src": IDS, "tgt": IDS}),
    "a target with padding": ("bart", "seq2seq", {}, {}, {"src": IDS, "tgt": IDS, "tgt_mask": REAL}),
    "gated feed-forward layers": ("t5", "seq2seq", {"gated": True}, {}, {"src": IDS, "tgt": IDS}),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_models_take_besides_gives_what_it_gives_in_numpy(way, randomise, float64):
    name, task, shape, settings, inputs = WAYS[way]
    model = randomise(build_model(config_of(name, **shape), task, **settings))
    inputs = inputs if task == "seq2seq" else {"tokens": IDS} | inputs
    targets = np.random.default_rng(1).standard_normal(model(**inputs).shape)
    function = differentiable(model, nn.MSELoss())
    compare(model, (inputs, targets, nn.MSELoss()), function, 1e-9)
    jax.jit(function).trace(arrays_of(model), inputs, targets)


def test_hidden_tokens_are_found_by_a_mask_that_is_known():
    model = build_model(config_of("bert"), "mlm")
    found = jax.jit(lambda params: model.bind(params)(IDS, where=IDS == 4))(arrays_of(model))
    np.testing.assert_allclose(found, model(IDS, where=IDS == 4).data, atol=1e-5)


def test_adapters_are_bound_like_other_parameters_and_frozen_weights_are_constants(randomise, float64):
    model = randomise(build_model(config_of("llama"), "lm"))
    add_lora(model, ["layers.0.self_attn.q_proj", "layers.1.feed_forward.linear2"], rank=2, scale=2.0)
    model = randomise(model)
    adapters = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    assert len(adapters) == 4
    grads = jax.grad(lambda params: jax.numpy.square(model.bind(params)(IDS)).sum())(adapters)
    output = model(IDS)
    expected = gradients((output * output).sum(), {n: p for n, p in model.named_parameters() if p.requires_grad})
    assert_near(grads, expected, 1e-9)
