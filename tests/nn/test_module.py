import copy
import pickle

import numpy as np
import pytest

from numformer import InputError, Parameter, Tensor, gradients, nn, no_grad, ops, random, recompute

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


class Tied(nn.Module):
    """A token model whose head is its embedding, listed in the order head, embedding, norm."""

    def __init__(self):
        self.head = nn.Linear(3, 5, bias=False)
        self.embedding = nn.Embedding(5, 3)
        self.embedding.weight = self.head.weight
        self.norm = nn.LayerNorm(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, ids):
        return self.head(self.drop(self.norm(self.embedding(ids))))


IDS = np.array([[0, 1, 1], [4, 1, 2]])


# Names


def test_parameters_are_named_by_attributes_in_the_order_of_assignment():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.ModuleList([nn.LayerNorm(4), nn.Linear(4, 2, bias=False)]))
    assert [name for name, _ in model.named_parameters()] == [
        "0.weight",
        "0.bias",
        "2.0.weight",
        "2.0.bias",
        "2.1.weight",
    ]
    assert model.num_parameters() == 12 + 4 + 4 + 4 + 8


def test_a_tied_parameter_is_listed_once():
    assert [name for name, _ in Tied().named_parameters()] == ["head.weight", "norm.weight", "norm.bias"]


def test_a_tied_parameter_gets_the_gradients_of_both_uses():
    model, untied = Tied().eval(), Tied().eval()
    untied.set_parameters(model.get_parameters())
    untied.embedding.weight = Parameter(model.head.weight.data.copy())
    for m in (model, untied):
        m(IDS).sum().backward()
    expected = untied.head.weight.grad + untied.embedding.weight.grad
    np.testing.assert_allclose(model.head.weight.grad, expected, atol=1e-6)


def test_module_lists_can_be_measured_indexed_and_looped_over():
    modules = nn.ModuleList(nn.Linear(1, n) for n in (1, 2, 3))
    assert len(modules) == 3
    assert modules[-1] is list(modules)[2]


def test_a_slice_of_a_list_holds_the_same_modules_in_a_list_of_the_same_kind():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 2))
    first, last = model[:2], model[2:]
    assert [first[0], first[1]] == [model[0], model[1]]
    assert [name for name, _ in last.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    np.testing.assert_array_equal(last(first(X)).data, model(X).data)
    assert len(model) == 4
    assert len(model[1:1]) == 0


def test_the_first_layers_can_be_frozen_by_a_slice():
    model = nn.Stack(nn.EncoderLayer(4, 2, 8) for _ in range(3))
    for layer in model[:2]:
        layer.freeze()
    assert {name[0] for name, p in model.named_parameters() if p.requires_grad} == {"2"}
    assert not any(p.requires_grad for p in model[:2].parameters())


def test_repr_shows_the_tree_with_settings_shapes_and_counts():
    lines = repr(nn.Sequential(nn.Linear(3, 1000), nn.Dropout(0.25))).splitlines()
    assert lines == [
        "Sequential()  4,000 parameters",
        "  0: Linear()  4,000 parameters  weight [1000, 3]  bias [1000]",
        "  1: Dropout(p=0.25)",
    ]


def test_a_module_without_forward_says_so():
    with pytest.raises(TypeError, match="ModuleList has no forward"):
        nn.ModuleList()(X)


# State


def test_state_goes_out_and_in_unchanged():
    model, other = Tied().eval(), Tied().eval()
    assert (model(IDS).data != other(IDS).data).any()
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(model(IDS).data, other(IDS).data)


def test_the_state_is_a_copy():
    model = nn.Linear(3, 2)
    model.state_dict()["weight"][...] = 7.0
    assert not (model.weight.data == 7.0).any()


def test_the_state_without_a_copy_is_what_the_model_holds():
    model = Tied()
    assert model.state_dict(copy=False)["norm.weight"] is model.norm.weight.data


def test_loading_writes_in_place_so_that_ties_and_views_stay():
    model = Tied()
    array, parameter = model.head.weight.data, model.head.weight
    view = array[1:3]
    state = {name: np.full_like(value, 2.0) for name, value in model.state_dict().items()}
    model.set_parameters(state)
    assert model.head.weight is parameter
    assert model.embedding.weight is parameter
    assert parameter.data is array
    assert (view == 2.0).all()


def test_loading_keeps_the_dtype():
    model = nn.Linear(3, 2)
    model.load_state_dict({name: value.astype(np.float64) for name, value in model.state_dict().items()})
    assert model.weight.dtype == np.float32


def test_a_state_that_does_not_fit_is_listed_in_full_and_changes_nothing():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    before = model.state_dict()
    state = {name: value + 1.0 for name, value in before.items()}
    del state["0.bias"], state["1.weight"]
    state |= {"3.weight": X, "extra": X, "2.weight": X}
    with pytest.raises(InputError) as raised:
        model.load_state_dict(state)
    assert str(raised.value) == (
        "the weights do not fit Sequential: missing: 0.bias, 1.weight; unexpected: 3.weight, extra; "
        "of the wrong shape: 2.weight (got [4, 3], expected [2, 2])"
    )
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_state_that_fits_in_part_is_taken_in_part_where_that_is_allowed():
    model = nn.Linear(3, 2)
    before = model.bias.data.copy()
    misfits = model.load_state_dict({"weight": np.ones((2, 3)), "head": np.ones(1)}, strict=False)
    assert misfits == (["bias"], ["head"])
    assert misfits.missing_keys == ["bias"]
    assert misfits.unexpected_keys == ["head"]
    np.testing.assert_array_equal(model.weight.data, np.ones((2, 3)))
    np.testing.assert_array_equal(model.bias.data, before)
    assert model.load_state_dict(model.state_dict()) == ([], [])
    with pytest.raises(InputError, match=r"of the wrong shape: weight \(got \[3, 2\], expected \[2, 3\]\)"):
        model.load_state_dict({"weight": np.ones((3, 2))}, strict=False)


@pytest.mark.parametrize("state", [3, [("weight", 1)], {"weight": "text", "bias": np.ones(2)}], ids=str)
def test_what_is_no_state_is_refused(state):
    with pytest.raises(InputError, match=r"a state maps names to arrays|got no array, expected"):
        nn.Linear(3, 2).load_state_dict(state)


def test_a_deep_copy_shares_nothing_and_keeps_ties():
    model = Tied().eval()
    twin = copy.deepcopy(model)
    assert twin.embedding.weight is twin.head.weight
    twin(IDS).sum().backward()
    assert twin.head.weight.grad is not None
    assert model.head.weight.grad is None
    twin.head.weight.data += 1.0
    assert (twin.head.weight.data != model.head.weight.data).all()


def test_astype_converts_every_parameter_and_its_gradient():
    model = Tied().eval()
    model(IDS).sum().backward()
    grad = model.head.weight.grad
    assert {p.dtype for p in model.astype(np.float64).parameters()} == {np.dtype(np.float64)}
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(model.head.weight.grad, grad)


@pytest.mark.parametrize(
    "change", [lambda model: model.load_state_dict(model.state_dict()), lambda model: model.astype(np.float64)]
)
def test_weights_changed_after_the_forward_make_its_backward_an_error(change):
    model = Tied().eval()
    loss = model(IDS).sum()
    change(model)
    with pytest.raises(InputError, match="were changed between the forward and the backward"):
        loss.backward()


# Modes


def test_train_and_eval_reach_every_module_inside():
    model = nn.Sequential(nn.ModuleList([nn.Dropout()]), nn.EncoderLayer(4, 2, 8, dropout=0.1))
    for mode in (False, True):
        assert model.train(mode) is model
        assert {module.training for _, module in model.named_modules()} == {mode}
    assert {module.training for _, module in model.eval().named_modules()} == {False}


def test_frozen_parameters_get_no_gradient_until_they_are_thawed():
    model = Tied().freeze("norm")
    model(IDS).sum().backward()
    assert model.norm.weight.grad is None
    assert model.norm.bias.grad is None
    assert model.head.weight.grad is not None
    model.unfreeze("norm.bias")
    model(IDS).sum().backward()
    assert model.norm.bias.grad is not None
    assert model.norm.weight.grad is None


def test_freezing_takes_whole_names_only():
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(11)))
    model.freeze("1")
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["1.weight", "1.bias"]


def test_everything_freezes_when_no_name_is_given():
    assert not any(p.requires_grad for p in Tied().freeze().parameters())


def test_freezing_an_unknown_name_is_an_error():
    with pytest.raises(InputError, match="no parameter of Tied is named 'nrom' or lies under it"):
        Tied().freeze("nrom")


def test_zero_grad_forgets():
    model = nn.Linear(3, 2)
    model(X).sum().backward()
    model.zero_grad()
    assert model.weight.grad is None


# Calling, and backward on a module


def test_float64_arrays_enter_a_float32_layer_as_float32():
    layer = nn.Linear(3, 2)
    assert layer(X.astype(np.float64)).dtype == np.float32
    with no_grad():
        assert layer(X.astype(np.float64)).dtype == np.float32


def test_float32_arrays_enter_a_float64_layer_as_float64():
    assert nn.Linear(3, 2).astype(np.float64)(X).dtype == np.float64


def test_backward_returns_the_input_gradient_and_adds_to_the_parameters():
    layer, dy = nn.Linear(3, 2), np.ones((4, 2), np.float32)
    for calls in (1, 2):
        layer(X)
        dx = layer.backward(dy)
        np.testing.assert_allclose(dx, dy @ layer.weight.data, rtol=1e-6)
        np.testing.assert_allclose(layer.weight.grad, calls * dy.T @ X, rtol=1e-5)
        np.testing.assert_allclose(layer.bias.grad, calls * 4.0)


def test_forward_written_out_is_a_call_like_any_other():
    model, dy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), np.ones((4, 2), np.float32)
    expected = model(X).data
    dx = model.backward(dy)
    np.testing.assert_array_equal(model.forward(X).data, expected)
    np.testing.assert_array_equal(model.backward(dy), dx)
    hidden = model[0].forward(X)  # of a class that writes a forward of its own, and of a part alone
    assert model[0].backward(np.ones(hidden.shape)).shape == X.shape
    with pytest.raises(InputError, match=r"Sequential\.backward needs a call"):
        model.backward(dy)
    assert nn.Linear.forward.__doc__.startswith("Map the last axis")


def test_backward_stops_at_the_input_of_the_module():
    x = Tensor(X, requires_grad=True)
    layer = nn.Linear(3, 2)
    y = layer(x * 2.0)
    dx = layer.backward(np.ones(y.shape))
    np.testing.assert_allclose(dx, np.ones(y.shape) @ layer.weight.data, rtol=1e-6)
    assert x.grad is None


def test_layers_can_be_pulled_back_one_after_the_other():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    whole = nn.Sequential(first, second)
    dy = np.random.default_rng(1).standard_normal((4, 2)).astype(np.float32)
    whole(X)
    expected = whole.backward(dy)
    whole.zero_grad()
    second(first(X).data)
    np.testing.assert_allclose(first.backward(second.backward(dy)), expected, rtol=1e-5, atol=1e-6)


def test_backward_needs_a_call_of_the_module_itself():
    whole = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"Sequential\.backward needs a call of this Sequential itself"):
        whole.backward(np.ones((4, 2)))
    whole(X)
    with pytest.raises(InputError, match=r"Linear\.backward needs a call"):
        whole[0].backward(np.ones((4, 2)))


def test_backward_twice_needs_two_calls():
    layer = nn.Linear(3, 2)
    layer(X)
    layer.backward(np.ones((4, 2)))
    with pytest.raises(InputError, match="needs a call"):
        layer.backward(np.ones((4, 2)))


def test_a_call_that_failed_is_not_taken_for_the_one_before_it():
    layer = nn.Linear(3, 2)
    layer(X)
    with pytest.raises(InputError):
        layer(X[:, :2])
    with pytest.raises(InputError, match=r"Linear\.backward needs a call of this Linear itself before it"):
        layer.backward(np.ones((4, 2)))


@pytest.mark.parametrize("given", [lambda dy: dy, Tensor, lambda dy: dy[:]])
def test_the_gradient_that_is_returned_is_never_the_one_that_was_given(given):
    class Same(nn.Module):
        def forward(self, x, y):
            return x + y

    dy = np.ones((4, 3), np.float32)
    module = Same()
    module(X, X)
    dx, dz = module.backward(given(dy))
    dx += 1.0
    np.testing.assert_array_equal(dy, 1.0)
    np.testing.assert_array_equal(dz, 1.0)


def test_a_module_may_return_something_else_than_tensors():
    class Shape(nn.Module):
        def forward(self, x):
            return x.shape

    assert Shape()(X) == (4, 3)


# bind


def test_bind_is_a_pure_function_of_its_parameters():
    model = Tied().eval()
    before = model.state_dict()
    zeros = {name: np.zeros_like(value) for name, value in before.items()}
    bound = model.bind(zeros)
    assert not np.any(bound(IDS))  # arrays in, an array out
    assert model(IDS).data.any()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_bound_module_is_a_copy_in_which_shared_modules_stay_shared():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Sequential(shared), nn.Dropout())
    bound = model.bind({"0.bias": np.ones(3, np.float32)})
    assert bound[0] is bound[1][0] is not shared
    bound.eval()
    assert {module.training for _, module in model.named_modules()} == {True}
    assert bound.unbound is model
    assert bound.bind({})[0].unbound is shared


def test_gradients_flow_through_bound_tensors_and_not_to_the_original():
    model = Tied().eval()
    state = {name: Tensor(value, requires_grad=True) for name, value in model.state_dict().items()}
    found = gradients((model.bind(state)(IDS) * 1.0).sum(), list(state.values()))
    model(IDS).sum().backward()
    for ours, parameter in zip(found, model.parameters(), strict=True):
        np.testing.assert_allclose(ours, parameter.grad, rtol=1e-6)
    before = model.head.weight.grad.copy()
    model.bind(state)(IDS).sum().backward()
    np.testing.assert_array_equal(model.head.weight.grad, before)


def test_gradients_flow_through_bound_tensors_inside_recomputation():
    layer = nn.Linear(3, 2)
    weight = Tensor(layer.weight.data, requires_grad=True)
    bound = layer.bind({"weight": weight})
    out = recompute(bound, Tensor(X), parameters=list(bound.parameters()))
    np.testing.assert_allclose(gradients(out, [weight], np.ones((4, 2)))[0], np.ones((2, 4)) @ X, rtol=1e-5)


def test_bind_computes_with_tensors_that_were_computed_themselves():
    layer, scale = nn.Linear(3, 2), Tensor(np.float32(3.0), requires_grad=True)
    bound = layer.bind({"weight": ops.mul(layer.weight.data, scale)})
    (dscale,) = gradients(bound(X).sum(), [scale])
    assert dscale == pytest.approx((X @ layer.weight.data.T).sum(), rel=1e-4)


def test_names_that_are_not_bound_keep_their_own_parameter():
    layer = nn.Linear(3, 2)
    bound = layer.bind({"bias": np.full(2, 5.0, np.float32)})
    np.testing.assert_allclose(bound(X).data, X @ layer.weight.data.T + 5.0, rtol=1e-5)


def test_binding_an_unknown_name_is_an_error():
    with pytest.raises(InputError, match=r"Tied has no parameters named embedding\.weight"):
        Tied().bind({"embedding.weight": np.zeros((5, 3))})


# Initialisers


def test_initialisers_draw_float32_with_the_promised_spread():
    generator = random.generator(1)
    normal = nn.init.normal(300, 200, std=0.02, generator=generator).data
    xavier = nn.init.xavier_uniform(300, 200, generator=generator).data
    assert normal.dtype == xavier.dtype == np.float32
    assert normal.std() == pytest.approx(0.02, rel=0.02)
    assert abs(xavier).max() == pytest.approx(np.sqrt(6.0 / 500.0), rel=0.01)
    assert abs(xavier).max() <= np.sqrt(6.0 / 500.0)


def test_the_same_generator_gives_the_same_weights():
    first, second, other = (nn.Linear(3, 2, generator=random.generator(seed)).weight.data for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_a_module_travels_between_processes_without_its_last_call():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).freeze("0")
    model(X)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.eval()(X).data, model.eval()(X).data)
    assert [p.requires_grad for p in twin.parameters()] == [False, False, True, True]
    with pytest.raises(InputError, match="needs a call"):
        pickle.loads(pickle.dumps(model)).backward(np.ones((4, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Linear(in_feature=3, out_features=2),
            r"unknown setting in_feature; .* did you mean in_features\?$",
        ),
        (lambda: nn.EncoderLayer(d_modle=8), r"unknown setting d_modle; .* did you mean d_model\?$"),
        (lambda: nn.MultiHeadAttention(8, num_haeds=2), r"unknown setting num_haeds; .* did you mean num_heads\?$"),
    ],
)
def test_a_misspelt_keyword_of_any_module_is_refused_in_a_sentence(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_every_module_takes_synonyms_of_its_keywords():
    layer = nn.EncoderLayer(hidden_size=8, num_attention_heads=2, intermediate_size=12)
    assert layer(np.zeros((1, 3, 8), np.float32)).shape == (1, 3, 8)


def test_a_module_is_on_the_cpu_and_converted_by_to():
    model = nn.Linear(3, 2)
    assert model.cpu() is model.to("cpu") is model
    assert model.to("float64").weight.dtype == np.float64
    with pytest.raises(InputError, match=r"computes on the CPU alone: leave out .to\('cuda'\)"):
        model.to("cuda")


def test_all_parameters_freeze_and_thaw_in_passing():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())
    assert all(p.requires_grad for p in model.requires_grad_().parameters())
    nn.ReLU().requires_grad_(False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Embedding(5, 4)([[1, 2], [3]]), "one length, got rows of 2, 1 elements; pad them first"),
        (lambda: nn.Linear(3, 2)([[1.0, 2.0], [3.0]]), "one length, got rows of 2, 1 elements; pad them first"),
        (lambda: nn.Linear(3, 2)("text"), "linear takes arrays and numbers, got 'text'"),
        (lambda: nn.Linear(3, 2)(None), "linear takes an array, got None"),
        (lambda: nn.Linear(3, 2)(2.5), "linear takes an array, got 2.5"),
        (lambda: nn.Linear(3, 2)({"x": 1}), "linear takes arrays and numbers, got {'x': 1}"),
        (lambda: nn.Dropout("much"), "the dropout probability must be at least 0 and below 1, got 'much'"),
    ],
    ids=range(7),
)
def test_what_is_no_array_is_refused_in_a_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
