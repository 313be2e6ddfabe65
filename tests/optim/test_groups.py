"""Groups of parameters with settings of their own, by dicts and by patterns of names."""

import numpy as np
import pytest

from numformer import GPT, InputError, Parameter, nn
from numformer.optim import SGD, Adam, AdamW, ParameterGroup, layerwise_decay, parameter_groups
from numformer.optim import optimizer as optimizer_module

EVERY_RULE = pytest.mark.parametrize(
    "make", [Adam, AdamW, lambda p, **s: SGD(p, momentum=0.9, **s)], ids=["adam", "adamw", "sgd"]
)


def parameters(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.standard_normal(shape)) for shape in shapes]


def advance(optimizer, params, steps=1, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in params:
            p.grad = rng.standard_normal(p.shape).astype(p.dtype)
        optimizer.step()


def gpt():
    return GPT(vocab_size=11, d_model=8, num_heads=2, num_layers=2, max_seq_len=4)


# Dicts


@EVERY_RULE
def test_a_group_moves_as_in_an_optimizer_of_its_own(make, monkeypatch):
    monkeypatch.setattr(optimizer_module, "SLICE", 4)  # borders of groups are borders of pieces too
    shapes = [(3, 2), (4,), (2, 5), (1,)]
    together, alone = parameters(*shapes), parameters(*shapes)
    own = [{"lr": 0.1, "weight_decay": 0.5}, {"lr": 0.01, "weight_decay": 0.0}]
    optimizer = make([{"params": together[:2]} | own[0], {"params": iter(together[2:])} | own[1]])
    singles = [make(alone[:2], **own[0]), make(alone[2:], **own[1])]
    for seed in range(3):
        advance(optimizer, together, seed=seed)
        for p, q in zip(together, alone, strict=True):
            q.grad = p.grad
        for single in singles:
            single.step()
    for p, q in zip(together, alone, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_group_takes_what_it_does_not_say_from_the_keywords():
    first, second = parameters((2, 2), (2,))
    optimizer = AdamW([{"params": first, "lr": 1e-4}, {"params": [second], "weight_decay": 0.0}], lr=1e-3, eps=1e-6)
    assert optimizer.param_groups == [
        {"params": (first,), "lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01},
        {"params": (second,), "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.0},
    ]


def test_betas_and_momentum_may_belong_to_a_group():
    first, second = parameters((2,), (2,))
    first.data[...] = second.data[...] = 0.0
    optimizer = SGD([{"params": first, "momentum": 0.5}, {"params": second}], lr=1.0)
    for _ in range(2):
        first.grad = second.grad = np.ones(2)
        optimizer.step()
    np.testing.assert_array_equal(first.data, -2.5)  # 1, then 0.5 · 1 + 1
    np.testing.assert_array_equal(second.data, -2.0)


def test_a_rate_set_in_a_group_holds_for_the_next_step():
    params = parameters((2,), (2,))
    before = [p.data.copy() for p in params]
    optimizer = SGD([{"params": p} for p in params], lr=1.0)
    for group, rate in zip(optimizer.param_groups, (0.5, 0.0), strict=True):
        group["lr"] = rate
    for p in params:
        p.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_allclose(params[0].data, before[0] - 0.5)
    np.testing.assert_array_equal(params[1].data, before[1])


def test_the_rate_of_the_optimizer_is_that_of_all_its_groups():
    params = parameters((2,), (2,))
    optimizer = SGD([{"params": p} for p in params], lr=1.0)
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    assert optimizer.lr == 0.25


@pytest.mark.parametrize("use", [lambda o: o.lr, lambda o: setattr(o, "lr", 0.1)], ids=["read", "set"])
def test_groups_of_different_rates_have_no_one_rate(use):
    first, second = parameters((2,), (2,))
    optimizer = SGD([{"params": first, "lr": 1.0}, {"params": second, "lr": 0.5}])
    with pytest.raises(InputError, match=r"have a lr each \(1.0, 0.5\): use group\[\"lr\"\] for each group in"):
        use(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda p, q: [{"params": [p, q]}, {"params": [q]}], r"got a parameter of shape \[3\] twice"),
        (lambda p, q: [p, q, p], r"got a parameter of shape \[2, 2\] twice"),
        (lambda p, q: [{"params": p}, q], "parameters or dicts with some each, got both"),
        (lambda p, q: [q, {"params": p}], r"optimizer takes parameters or dicts with some each, got both"),
        (lambda p, q: [("weight", p)], "takes parameters, such as model.parameters.*got a tuple"),
        (lambda p, q: nn.Linear(2, 2), "takes parameters, such as model.parameters.*got a Linear"),
        (lambda p, q: [{"params": nn.Linear(2, 2)}], "takes parameters, such as model.parameters.*got a Linear"),
        (lambda p, q: [{"params": p, "rate": 0.1}], "unknown setting rate; known are .*lr"),
        (lambda p, q: [{"params": p, "momentum": 0.1}], "unknown setting momentum"),
        (lambda p, q: [{"params": p}, {"params": q, "lr": -1.0}], "lr must be at least 0 and finite, got -1"),
        (lambda p, q: [{"params": p, "betas": (0.9, 1.0)}], "betas must be at least 0 and below 1, got 1"),
        (lambda p, q: [{"params": []}], "no parameter that requires gradients"),
    ],
)
def test_what_is_no_list_of_groups_is_refused_in_a_sentence(given, message):
    with pytest.raises(InputError, match=message):
        Adam(given(*parameters((2, 2), (3,))))


def test_a_state_holds_the_groups_and_continues_to_the_same_weights():
    def make(params, **settings):
        return Adam([{"params": params[:1]} | settings, {"params": params[1:], "betas": (0.5, 0.6)}], lr=0.1)

    params = parameters((3, 2), (4,), (2, 2))
    optimizer = make(params, lr=0.01)
    advance(optimizer, params, steps=3)
    optimizer.param_groups[0]["lr"] = 0.005
    copies = [Parameter(p.data.copy()) for p in params]
    other = make(copies)
    other.load_state_dict(optimizer.state_dict())
    assert [(g["lr"], g["betas"]) for g in other.param_groups] == [(0.005, (0.9, 0.999)), (0.1, (0.5, 0.6))]
    advance(optimizer, params, steps=3, seed=2)
    advance(other, copies, steps=3, seed=2)
    for p, q in zip(params, copies, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_the_state_of_other_groups_is_refused():
    first, second, third = parameters((2, 2), (2, 2), (2, 2))
    state = Adam([{"params": [first, second]}, {"params": [third]}]).state_dict()
    for groups in ([{"params": [first]}, {"params": [second, third]}], [first, second, third]):
        with pytest.raises(InputError, match="does not belong to Adam"):
            Adam(groups).load_state_dict(state)


# Patterns


def test_a_parameter_belongs_to_the_first_pattern_that_fits():
    model = gpt()
    chosen = [
        ParameterGroup(pattern="layers.0", lr=1e-4),
        {"pattern": "layers.*.weight", "weight_decay": 0.5, "freeze": False},
        ParameterGroup(pattern="token_embedding.weight", freeze=True),
    ]
    names = {id(p): name for name, p in model.named_parameters()}
    first, second, third, others = parameter_groups(model, chosen)
    assert {names[id(p)] for p in first["params"]} == {name for name in names.values() if name.startswith("layers.0.")}
    assert {names[id(p)] for p in second["params"]} == {
        name for name in names.values() if name.startswith("layers.1.") and name.endswith("weight")
    }
    assert [names[id(p)] for p in third["params"]] == ["token_embedding.weight"]
    assert sum(len(group["params"]) for group in (first, second, third, others)) == len(names)
    assert first.keys() == {"params", "lr", "freeze"}
    assert (second["weight_decay"], third["freeze"], others.keys()) == (0.5, True, {"params"})


def test_patterns_make_the_groups_of_an_optimizer():
    model = gpt()
    optimizer = AdamW(parameter_groups(model, [{"pattern": "layers", "lr": 1e-4, "weight_decay": 0.0}]), lr=1e-3)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(1e-4, 0.0), (1e-3, 0.01)]
    assert optimizer.param_groups[0]["params"] == tuple(model.layers.parameters())


def test_where_patterns_leave_nothing_over_there_is_no_group_of_others():
    assert len(parameter_groups(gpt(), [{"pattern": "*", "lr": 1e-4}])) == 1


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            [{"pattern": "leyers.*"}],
            r"no parameter of GPT fits the pattern 'leyers\.\*'; there are token_embedding\.weight",
        ),
        ([{"pattern": "leyers"}], r"there are .*, layers\.\*\.self_attn\..*, norm\.weight"),
        (
            [{"pattern": "*"}, {"pattern": "norm"}],
            r"'norm' fits only parameters that an earlier group has: put it before",
        ),
        ([{"patern": "norm"}], r"unknown setting patern; known are .*did you mean pattern\?"),
        ([{"lr": 0.1}], r"a group needs a pattern of the names of its parameters, got \{'lr': 0.1\}"),
        (["norm"], "a group is a ParameterGroup or a dict of its fields, got 'norm'"),
        ({"pattern": "norm"}, "groups is a list of ParameterGroups or dicts"),
        (3, "groups is a list of ParameterGroups or dicts of their fields, got 3"),
    ],
)
def test_a_pattern_without_parameters_and_a_malformed_group_are_refused(groups, message):
    with pytest.raises(InputError, match=message):
        parameter_groups(gpt(), groups)


def test_the_parameters_of_a_group_lie_together_with_its_matrices_first():
    """So few pieces are updated, and the norm of a gradient is summed in the same order for the same groups."""
    first, second, third, fourth, fifth = parameters((2,), (2, 2), (3,), (2, 3), (2, 2, 2))
    optimizer = SGD([{"params": [first, second, fifth]}, {"params": [third, fourth]}])
    assert list(map(id, optimizer.parameters)) == list(map(id, [second, fifth, first, fourth, third]))


# Rates that fall from layer to layer


def test_the_rate_falls_from_each_layer_to_the_one_below_it():
    model = gpt()
    groups = AdamW(parameter_groups(model, layerwise_decay(model, lr=0.1, rate=0.5)), lr=0.1).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert found["norm.weight"] == 0.1
    assert found["layers.1.self_attn.in_proj.weight"] == 0.05
    assert found["layers.0.feed_forward.linear1.bias"] == 0.025
    assert found["token_embedding.weight"] == found["position_embedding.weight"] == 0.0125


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_a_rate_of_layers_out_of_range_is_refused(rate):
    with pytest.raises(InputError, match="layer_decay must be above 0 and at most 1"):
        layerwise_decay(gpt(), 0.1, rate)


def test_rates_by_layer_need_layers():
    with pytest.raises(InputError, match="needs a model with a stack of layers, which Linear has not"):
        layerwise_decay(nn.Linear(2, 2), 0.1, 0.5)
