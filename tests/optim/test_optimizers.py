import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from numformer import GPT, InputError, Parameter
from numformer.optim import SGD, Adam, AdamW, clip_grad_norm
from numformer.optim import optimizer as optimizer_module

GOLDEN = Path(__file__).parents[1] / "golden" / "adam.safetensors"
RULES = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
EVERY_RULE = pytest.mark.parametrize(
    "make", [Adam, AdamW, lambda p, **s: SGD(p, momentum=0.9, **s)], ids=["adam", "adamw", "sgd"]
)


def parameters(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.standard_normal(shape)) for shape in shapes]


def values(params):
    return [p.data.copy() for p in params]


def advance(optimizer, params, steps=1, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in params:
            p.grad = rng.standard_normal(p.shape).astype(p.dtype)
        optimizer.step()


@pytest.mark.parametrize("rule", RULES)
def test_three_steps_follow_the_table_computed_by_hand(rule):
    with safe_open(GOLDEN, framework="numpy") as file:
        table = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = json.loads(file.metadata()["config"])[rule]
    weight = Parameter(table["weight"].copy())
    optimizer = RULES[rule]([weight], **settings)
    for gradient, expected in zip(table["gradients"], table[f"{rule}.weights"], strict=True):
        weight.grad = gradient
        optimizer.step()
        np.testing.assert_allclose(weight.data, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_the_first_step_of_adam_is_lr_whatever_the_size_of_the_gradient(size):
    (p,) = parameters((3,))
    before = p.data.copy()
    p.grad = np.array([size, -size, size])
    Adam([p], lr=0.1).step()
    np.testing.assert_allclose(before - p.data, [0.1, -0.1, 0.1], rtol=1e-3)


@EVERY_RULE
def test_many_parameters_are_updated_as_each_alone(make):
    shapes = [(3, 2), (4,), (2, 5), (1,)]
    together, alone = parameters(*shapes), parameters(*shapes)
    optimizers = [make([p], lr=0.1) for p in alone]
    optimizer = make(together, lr=0.1)
    for step in range(3):
        rng = np.random.default_rng(step)
        for p, q in zip(together, alone, strict=True):
            p.grad = q.grad = rng.standard_normal(p.shape)
        for each in (optimizer, *optimizers):
            each.step()
    for p, q in zip(together, alone, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize(
    ("make", "shrunk"), [(AdamW, 1 - 0.1 * 0.5), (SGD, 1 - 0.1 * 0.5), (Adam, None)], ids=["adamw", "sgd", "adam"]
)
def test_only_matrices_decay(make, shrunk):
    params = parameters((4,), (3, 2), (1,), (2, 2, 2))
    before = values(params)
    optimizer = make(params, lr=0.1, weight_decay=0.5)
    for p in params:
        p.grad = np.zeros(p.shape)
    optimizer.step()
    for p, was in zip(params, before, strict=True):
        if p.ndim < 2:
            np.testing.assert_array_equal(p.data, was)
        else:  # Adam's L2 decay is a gradient, so its first step is lr towards zero
            np.testing.assert_allclose(p.data, was - 0.1 * np.sign(was) if shrunk is None else was * shrunk, rtol=1e-5)


@EVERY_RULE
def test_parameters_stay_views_of_one_array(make):
    params = parameters((3, 2), (4,))
    optimizer = make(params)
    advance(optimizer, params, steps=2)
    optimizer.load_state_dict(optimizer.state_dict())
    assert all(np.shares_memory(p.data, optimizer.weights) for p in params)


def test_a_tied_head_stays_tied_after_steps_and_after_loading():
    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=4)
    model.head = model.token_embedding  # a second name of the same matrix
    optimizer = AdamW(model.parameters(), lr=0.1)
    assert sum(p.shape == (11, 8) for p in optimizer.parameters) == 1
    for _ in range(2):
        model(np.array([[1, 2, 3]])).sum().backward()
        optimizer.step()
        model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})
    assert model.head.weight is model.token_embedding.weight
    assert np.shares_memory(model.head.weight.data, optimizer.weights)


@EVERY_RULE
@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_parameter_without_a_gradient_is_skipped(make, missing):
    params = parameters((3, 2), (2, 4), (5,), (3,))
    optimizer = make(params, lr=0.1, weight_decay=0.1)
    advance(optimizer, params)
    before, state = values(params), optimizer.state_dict()
    others = [p for i, p in enumerate(params) if i != missing]
    optimizer.zero_grad()
    advance(optimizer, others)
    start, stop = optimizer.borders[missing : missing + 2]
    np.testing.assert_array_equal(params[missing].data, before[missing])
    for slot in optimizer.slots:
        changed = optimizer.state[slot] != state[slot]
        assert not changed[start:stop].any()
        assert changed[:start].all()
        assert changed[stop:].all()


@EVERY_RULE
def test_an_assigned_array_is_where_the_next_step_starts(make):
    params, others = parameters((3, 2), (4,)), parameters((3, 2), (4,))
    others[0].data = np.ones((3, 2))
    optimizer, expected = make(params, lr=0.1), make(others, lr=0.1)
    params[0].data = np.ones((3, 2))
    advance(optimizer, params)
    advance(expected, others)
    np.testing.assert_array_equal(params[0].data, others[0].data)
    assert np.shares_memory(params[0].data, optimizer.weights)


@EVERY_RULE
def test_a_state_loaded_half_way_continues_to_the_same_weights(make):
    params = parameters((3, 2), (4,))
    optimizer = make(params, lr=0.1)
    advance(optimizer, params, steps=3)
    copies = [Parameter(p.data.copy()) for p in params]
    other = make(copies, lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    advance(optimizer, params, steps=3, seed=2)
    advance(other, copies, steps=3, seed=2)
    for p, q in zip(params, copies, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_state_dict_is_a_copy():
    params = parameters((2, 2))
    optimizer = Adam(params)
    state = optimizer.state_dict()
    advance(optimizer, params)
    assert not state["mean"].any()
    assert state["step_count"] == 0


@pytest.mark.parametrize("other", [SGD(parameters((3, 2))), Adam(parameters((3, 3)))], ids=["rule", "size"])
def test_the_state_of_another_optimizer_is_refused(other):
    with pytest.raises(InputError, match="does not belong to Adam"):
        Adam(parameters((3, 2))).load_state_dict(other.state_dict())


def test_frozen_parameters_are_left_out():
    frozen, free = parameters((2, 2), (3, 3))
    frozen.requires_grad = False
    before = frozen.data
    optimizer = SGD([frozen, free])
    assert optimizer.parameters == [free]
    assert frozen.data is before


@EVERY_RULE
def test_float32_stays_float32(make):
    params = [Parameter(np.ones(shape, np.float32)) for shape in [(2, 2), (3,)]]
    optimizer = make(params, weight_decay=0.1)
    advance(optimizer, params)
    assert {a.dtype for a in [optimizer.weights, *optimizer.state.values(), *values(params)]} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam([]), "no parameter"),
        (lambda: Adam(parameters((2,)), lr=-1.0), "lr must be at least 0 and finite, got -1"),
        (lambda: Adam(parameters((2,)), lr=float("nan")), "lr must be at least 0 and finite, got nan"),
        (lambda: Adam(parameters((2,)), betas=(0.9, 1.0)), "betas must be at least 0 and below 1, got 1"),
        (lambda: Adam(parameters((2,)), eps=0.0), "eps must be above 0, got 0"),
        (lambda: Adam(parameters((2,)), eps=float("nan")), "eps must be above 0, got nan"),
        (lambda: AdamW(parameters((2,)), weight_decay=-0.1), "weight_decay must be"),
        (lambda: SGD(parameters((2,)), momentum=1.0), "momentum must be"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("max_norm", [1.0, 100.0])
def test_clipping_returns_the_norm_before_and_scales_down_only(max_norm):
    params = parameters((2,), (1, 2), (3,))
    params[0].grad, params[1].grad = np.array([3.0, 0.0]), np.array([[0.0, 4.0]])
    assert clip_grad_norm(params, max_norm) == pytest.approx(5.0)
    scale = min(1.0, max_norm / 5.0)
    np.testing.assert_allclose(params[0].grad, [3.0 * scale, 0.0], rtol=1e-6)
    np.testing.assert_allclose(params[1].grad, [[0.0, 4.0 * scale]], rtol=1e-6)
    assert params[2].grad is None


def test_an_array_of_several_slices_is_updated_to_its_end():
    (weight,) = parameters((optimizer_module.SLICE + 7, 2))
    before, optimizer = weight.data.copy(), SGD([weight], lr=0.5)
    gradient = np.random.default_rng(0).standard_normal(weight.shape)
    optimizer.gather([gradient], out=optimizer.gradient)
    optimizer.update()
    np.testing.assert_allclose(weight.data, before - 0.5 * gradient.astype(before.dtype), rtol=1e-6, atol=1e-6)
