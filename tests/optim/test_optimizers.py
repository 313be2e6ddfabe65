import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from numformer import GPT, InputError, Parameter, ops
from numformer.optim import SGD, Adam, AdamW, clip_grad_norm
from numformer.optim import optimizer as optimizer_module
from numformer.optim.clipping import global_norm

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
    assert not state["update_counts"].any()


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
        (lambda: Adam(parameters((2,)), lr="1e-3"), "lr must be a number, got '1e-3'"),
        (lambda: SGD(parameters((2,)), lr=None), "lr must be a number, got None"),
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


@pytest.mark.parametrize("size", [1e-20, 1e20, 3e38])
def test_the_norm_of_large_gradients_is_finite(size):
    gradient = np.full(100, size, np.float32)
    if size > 1:
        assert global_norm(gradient) == pytest.approx(10 * size, rel=1e-6)
    params = parameters((100,), (5, 20))
    for p in params:
        p.grad = gradient.reshape(p.shape)
    norm = clip_grad_norm(params, 1.0)
    if size > 1:
        assert norm == pytest.approx(math.sqrt(200) * size, rel=1e-6)
        assert clip_grad_norm(params, 1.0) == pytest.approx(1.0, rel=1e-4)


def test_the_norm_of_usual_gradients_has_the_bits_of_a_dot_product():
    gradient = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert global_norm(gradient) == math.sqrt(float(np.dot(gradient, gradient)))
    assert global_norm(gradient[:0]) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_clipping_leaves_gradients_that_are_no_numbers_as_they_are(bad):
    params = parameters((2,), (2, 2))
    params[0].grad, params[1].grad = np.array([3.0, bad]), np.ones((2, 2))
    norm = clip_grad_norm(params, 1.0)
    assert not math.isfinite(norm)
    assert math.isnan(norm) is bool(np.isnan(bad))
    np.testing.assert_array_equal(params[0].grad, [3.0, bad])
    np.testing.assert_array_equal(params[1].grad, 1.0)


@EVERY_RULE
@pytest.mark.parametrize("late", [0, 1, 2, 3])
def test_a_parameter_that_joins_later_moves_as_in_a_run_of_its_own(make, late):
    """Adam's correction for the start at zero counts the updates of each parameter, not those of the run."""
    shapes = [(3, 2), (2, 4), (5,), (3,)]
    params = parameters(*shapes)
    alone = [Parameter(p.data.copy()) for p in params]
    optimizer, singles = make(params, lr=0.1), [make([p], lr=0.1) for p in alone]
    rng = np.random.default_rng(3)
    for step in range(8):
        for number, (p, q) in enumerate(zip(params, alone, strict=True)):
            frozen = number == late and step < 5
            p.grad = q.grad = None if frozen else rng.standard_normal(p.shape)
        optimizer.step()
        for number, single in enumerate(singles):
            if not (number == late and step < 5):
                single.step()
    for p, q in zip(params, alone, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    assert sorted(optimizer.update_counts) == [3, 8, 8, 8]
    assert optimizer.update_counts[[p is params[late] for p in optimizer.parameters].index(True)] == 3


def test_a_parameter_unfrozen_at_step_six_takes_its_first_step_of_adam_there():
    frozen, free = parameters((3,), (3,))
    optimizer = Adam([frozen, free], lr=0.1)
    for step in range(6):
        frozen.requires_grad = step == 5
        free.grad = np.ones(3)
        frozen.grad = np.ones(3) if frozen.requires_grad else None
        before = frozen.data.copy()
        optimizer.step()
    np.testing.assert_allclose(before - frozen.data, 0.1, rtol=1e-6)


def test_the_numbers_of_updates_are_saved_and_continued():
    params = parameters((3, 2), (4,))
    optimizer = Adam(params, lr=0.1)
    advance(optimizer, params[:1], steps=2)
    copies = [Parameter(p.data.copy()) for p in params]
    other = Adam(copies, lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert other.state_dict()["update_counts"].tolist() == [2, 0]
    advance(optimizer, params, seed=4)
    advance(other, copies, seed=4)
    for p, q in zip(params, copies, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_state_of_the_version_before_is_refused_in_a_sentence():
    optimizer = Adam(parameters((3, 2)))
    state = {**optimizer.state_dict(), "step_count": np.array(3)}
    del state["update_counts"]
    with pytest.raises(InputError, match="is of an earlier version, which did not count the updates of each parameter"):
        optimizer.load_state_dict(state)


@EVERY_RULE
@pytest.mark.parametrize("change", [lambda p: p.data.astype(np.float64), lambda p: p.data[:1]], ids=["dtype", "shape"])
def test_an_array_of_another_kind_is_refused_and_nothing_is_changed(make, change):
    params = [Parameter(np.ones(shape, np.float32)) for shape in [(3, 2), (4,)]]
    optimizer = make(params)
    params[0].data = params[0].data + 1
    params[1].data = assigned = change(params[1])
    for p in params:
        p.grad = np.ones(p.shape, p.dtype)
    expected = rf"a parameter is {assigned.dtype} \[{len(assigned)}\] now, but the optimizer was made for float32 \[4\]"
    for change_weights in (optimizer.update, optimizer.step):
        with pytest.raises(InputError, match=expected):
            change_weights()
    assert params[1].data is assigned
    np.testing.assert_array_equal(params[0].data, 2.0)
    assert not optimizer.update_counts.any()


def test_a_model_converted_after_its_optimizer_was_made_is_refused():
    model = GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=1, max_seq_len=4)
    optimizer = AdamW(model.parameters())
    model.astype(np.float64)
    model(np.array([[1, 2, 3]])).sum().backward()
    with pytest.raises(InputError, match="make the optimizer after such a change"):
        optimizer.step()
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    AdamW(model.parameters()).step()


@EVERY_RULE
@pytest.mark.parametrize("change", ["step", "update", "set_weights"])
def test_weights_that_an_optimizer_changed_make_a_backward_through_them_an_error(make, change):
    (weight,) = parameters((2, 2))
    optimizer = make([weight])
    weight.grad = np.ones((2, 2))
    loss = ops.linear(np.ones((1, 2)), weight).sum()
    getattr(optimizer, change)(*([optimizer.weights.copy()] if change == "set_weights" else []))
    with pytest.raises(InputError, match="were changed between the forward and the backward"):
        loss.backward()


def test_only_parameters_that_were_updated_count_as_changed():
    used, unused = parameters((2, 2), (2, 2))
    optimizer = SGD([used, unused])
    used.grad = np.ones((2, 2))
    optimizer.step()
    assert (used.version, unused.version) == (1, 0)


@EVERY_RULE
def test_update_is_for_every_parameter_unless_told_otherwise(make):
    shapes = [(3, 2), (2, 4), (5,), (3,)]
    params, others = parameters(*shapes), parameters(*shapes)
    optimizer, told = make(params, lr=0.1), make(others, lr=0.1)
    for each in (optimizer, told):
        each.gradient[...] = np.arange(1, each.gradient.size + 1)
    optimizer.update()
    told.update(present=[True] * 4)
    for p, q, start in zip(params, others, parameters(*shapes), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert (p.data != start.data).all()


def test_defaults_are_those_of_the_papers_and_of_pytorch():
    (p,) = parameters((2, 2))
    settings = [
        {
            name: getattr(optimizer, name)
            for name in ("lr", "betas", "eps", "weight_decay", "momentum")
            if hasattr(optimizer, name)
        }
        for optimizer in (Adam([p]), AdamW([p]), SGD([p]))
    ]
    assert settings == [
        {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
        {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
        {"lr": 1e-2, "weight_decay": 0.0, "momentum": 0.0},
    ]


@pytest.mark.parametrize("make", [Adam, AdamW, SGD])
def test_a_misspelt_setting_is_the_same_error_as_elsewhere(make):
    with pytest.raises(InputError, match=r"^unknown setting weight_decai; known are .*did you mean weight_decay\?"):
        make(parameters((2,)), weight_decai=0.1)


def test_an_array_of_several_slices_is_updated_to_its_end():
    (weight,) = parameters((optimizer_module.SLICE + 7, 2))
    before, optimizer = weight.data.copy(), SGD([weight], lr=0.5)
    gradient = np.random.default_rng(0).standard_normal(weight.shape)
    optimizer.gather([gradient], out=optimizer.gradient)
    optimizer.update()
    np.testing.assert_allclose(weight.data, before - 0.5 * gradient.astype(before.dtype), rtol=1e-6, atol=1e-6)
