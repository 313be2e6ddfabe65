"""Parameters that are frozen and unfrozen after the optimizer was made."""

import numpy as np
import pytest

from numformer import InputError, Parameter, nn
from numformer.optim import SGD, Adam, AdamW, clip_grad_norm, parameter_groups

EVERY_RULE = pytest.mark.parametrize(
    "make", [Adam, AdamW, lambda p, **s: SGD(p, momentum=0.9, **s)], ids=["adam", "adamw", "sgd"]
)
SHAPES = [(3, 2), (2, 4), (5,), (3,)]


def parameters(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.standard_normal(shape)) for shape in shapes]


def advance(optimizer, params, steps=1, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in params:
            grad = rng.standard_normal(p.shape)
            p.grad = grad if p.requires_grad else None
        optimizer.step()


@EVERY_RULE
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_parameter_unfrozen_later_is_trained_from_then_on_as_in_an_optimizer_of_its_own(make, number):
    params = parameters(*SHAPES)
    alone = [Parameter(p.data.copy()) for p in params]
    params[number].requires_grad = False
    optimizer, singles = make(params, lr=0.1), [make([p], lr=0.1) for p in alone]
    rng = np.random.default_rng(3)
    for step in range(6):
        params[number].requires_grad = step >= 3
        for p, q, single in zip(params, alone, singles, strict=True):
            p.grad = q.grad = rng.standard_normal(p.shape) if p.requires_grad else None
            single.step()
        optimizer.step()
        for p, q in zip(params, alone, strict=True):
            np.testing.assert_array_equal(p.data, q.data)
    assert sorted(optimizer.update_counts) == [3, 6, 6, 6]


@EVERY_RULE
def test_a_parameter_frozen_later_stays_with_its_averages_even_where_it_has_a_gradient_left(make):
    params = parameters(*SHAPES)
    optimizer = make(params, lr=0.1, weight_decay=0.1)
    advance(optimizer, params, steps=2)
    before, state = params[1].data.copy(), optimizer.state_dict()
    params[1].requires_grad = False
    assert params[1].grad is not None
    optimizer.step()
    np.testing.assert_array_equal(params[1].data, before)
    start, stop = optimizer.borders[1:3]
    for slot in optimizer.slots:
        np.testing.assert_array_equal(optimizer.state[slot][start:stop], state[slot][start:stop])
    assert optimizer.update_counts.tolist() == [3, 2, 3, 3]
    optimizer.zero_grad()
    assert params[1].grad is None


def test_a_parameter_that_was_never_trained_costs_no_memory():
    large, small = parameters((100, 100), (3,))
    large.requires_grad = False
    before = large.data
    optimizer = Adam([large, small])
    advance(optimizer, [large, small])
    assert large.data is before
    assert [array.size for array in (optimizer.weights, optimizer.gradient, *optimizer.state.values())] == [3, 3, 3, 3]
    large.requires_grad = True
    optimizer.step()
    assert optimizer.weights.size == 10003


def test_layers_are_unfrozen_one_after_the_other():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    model.freeze("0", "1")
    optimizer = AdamW(model.parameters(), lr=0.1)
    moved = []
    for part in (None, "1", "0"):
        if part is not None:
            model.unfreeze(part)
        before = model.state_dict()
        optimizer.zero_grad()
        model(np.ones((4, 3), np.float32)).sum().backward()
        optimizer.step()
        moved.append({name[0] for name, value in model.state_dict().items() if not np.array_equal(value, before[name])})
    assert moved == [{"2"}, {"1", "2"}, {"0", "1", "2"}]


def test_freeze_in_a_group_freezes_its_parameters_until_they_are_unfrozen():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    optimizer = SGD(parameter_groups(model, [{"pattern": "0", "freeze": True, "lr": 0.5}]), lr=0.1)
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    model.unfreeze("0")
    before = model.state_dict()
    for p in model.parameters():
        p.grad = np.ones(p.shape, np.float32)
    optimizer.step()
    np.testing.assert_allclose(before["0.bias"] - model[0].bias.data, 0.5, rtol=1e-6)
    np.testing.assert_allclose(before["1.bias"] - model[1].bias.data, 0.1, rtol=1e-6)


def test_an_array_assigned_to_a_frozen_parameter_is_where_it_starts_when_it_is_unfrozen():
    frozen, free = parameters((2,), (2,))
    frozen.requires_grad = False
    optimizer = SGD([frozen, free], lr=1.0)
    frozen.data = np.array([5.0, 7.0])
    frozen.requires_grad = True
    frozen.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_array_equal(frozen.data, [4.0, 6.0])
    assert np.shares_memory(frozen.data, optimizer.weights)


def test_where_everything_is_frozen_there_is_no_optimizer():
    model = nn.Linear(2, 2)
    with pytest.raises(InputError, match="no parameter that requires gradients"):
        SGD(parameter_groups(model, [{"pattern": "*", "freeze": True}]))


def test_clipping_sees_what_is_trained_alone():
    params = parameters((2,), (2,))
    params[0].grad, params[1].grad = np.array([3.0, 4.0]), np.array([300.0, 400.0])
    params[1].requires_grad = False
    assert clip_grad_norm(params, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(params[0].grad, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(params[1].grad, [300.0, 400.0])


@EVERY_RULE
def test_a_state_of_more_parameters_than_are_trained_at_first_continues_to_the_same_weights(make):
    params = parameters(*SHAPES)
    params[0].requires_grad = False
    optimizer = make(params, lr=0.1)
    advance(optimizer, params, steps=2)
    params[0].requires_grad, params[2].requires_grad = True, False
    advance(optimizer, params, steps=2)

    copies = [Parameter(p.data.copy()) for p in params]
    copies[0].requires_grad = False
    other = make(copies, lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    copies[0].requires_grad, copies[2].requires_grad = True, False
    for each, of in ((optimizer, params), (other, copies)):
        advance(each, of, steps=2, seed=2)
        of[2].requires_grad = True
        advance(each, of, steps=2, seed=3)
    for p, q in zip(params, copies, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_the_averages_of_what_a_state_does_not_know_start_at_zero():
    params = parameters((2,), (3,))
    params[0].requires_grad = False
    state = Adam(params).state_dict()
    params[0].requires_grad = True
    optimizer = Adam(params, lr=0.1)
    advance(optimizer, params, steps=2)
    optimizer.load_state_dict(state)
    assert optimizer.update_counts.tolist() == [0, 0]
    assert not any(average.any() for average in optimizer.state.values())


def test_a_state_of_the_version_before_groups_is_that_of_what_is_trained():
    params = parameters(*SHAPES)
    params[1].requires_grad = False
    optimizer = Adam(params, lr=0.1)
    advance(optimizer, params, steps=2)
    state = {
        name: array for name, array in optimizer.state_dict().items() if name in ("mean", "square", "update_counts")
    }
    copies = [Parameter(p.data.copy()) for p in params]
    copies[1].requires_grad = False
    other = Adam(copies, lr=0.1)
    other.load_state_dict(state)
    advance(optimizer, params, seed=2)
    advance(other, copies, seed=2)
    for p, q in zip(params, copies, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
