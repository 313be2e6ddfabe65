import copy
import threading
from typing import NamedTuple

import array_api_strict as xp
import numpy as np
import pytest

import numformer as nf
from numformer import InputError, Tensor, capture, gradients, inference, intervene, nn, no_grad, ops, recompute
from numformer.autograd import is_watched, storage
from numformer.models import GPT, BertConfig, TransformerConfig, build_model
from numformer.training.workers import Workers

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12, "max_seq_len": 7, "dropout": 0.0}
TOKENS = np.random.default_rng(0).integers(1, 11, (3, 6))
MASK = np.arange(6) < np.array([[6], [3], [4]])
LAST = "layers.1"
X = np.random.default_rng(1).standard_normal((2, 5, 8)).astype(np.float32)


def gpt(**settings):
    return GPT(vocab_size=11, num_layers=2, **SIZES | settings)


def loss_of(model):
    return ops.cross_entropy(ops.reshape(model(TOKENS[:, :-1]), shape=(-1, 11)), TOKENS[:, 1:].reshape(-1))


@pytest.fixture
def make(randomise):
    def make(kind, **settings):
        sizes = SIZES | settings
        if kind == "gpt":
            return randomise(gpt(**settings))
        if kind == "classifier":
            return randomise(build_model(BertConfig(vocab_size=11, num_layers=2, **sizes), "classification"))
        layers = {"num_encoder_layers": 2, "num_decoder_layers": 1}
        config = TransformerConfig(src_vocab_size=11, tgt_vocab_size=11, share_embeddings=False, **layers, **sizes)
        return randomise(build_model(config, "seq2seq"))

    return make


def run(model):
    if isinstance(model, GPT):
        return model(TOKENS)
    if hasattr(model, "decoder"):
        return model(np.where(MASK, TOKENS, 0), TOKENS[:, :4])
    return model(TOKENS, MASK)


every_kind = pytest.mark.parametrize("kind", ["gpt", "classifier", "encoder-decoder"])


def mean_loss(model, weights):
    return (run(model) * weights).sum()


# Names


@every_kind
def test_the_output_of_every_module_that_runs_is_recorded_under_its_name(kind, make):
    model = make(kind)
    with capture(model) as seen:
        output = run(model)
    names = [name for name, module in model.named_modules() if type(module).forward is not nn.Module.forward]
    missing = {name.rpartition(".")[2] for name in set(names) - set(seen.tensors)}  # not called: others use their parts
    assert missing <= {"dropout", "position_embedding", "segment_embedding", "backbone"}
    assert seen.tensors[""] is output
    assert list(seen.tensors)[-1] == ""
    assert all(isinstance(tensor, Tensor) for tensor in seen.tensors.values())


def test_the_points_inside_a_layer_have_names_and_shapes():
    layer = nn.DecoderLayer(8, 2, 12)
    memory = np.zeros((2, 3, 8), np.float32)
    with capture(layer, ["*heads", "*weights", "*before"]) as seen:
        layer(X, memory)
    assert {name: tensor.shape for name, tensor in seen.tensors.items()} == {
        "residual1.before": (2, 5, 8),
        "self_attn.weights": (2, 2, 5, 5),
        "self_attn.heads": (2, 5, 2, 4),
        "residual2.before": (2, 5, 8),
        "cross_attn.weights": (2, 2, 5, 3),
        "cross_attn.heads": (2, 5, 2, 4),
        "residual3.before": (2, 5, 8),
    }


def test_the_stream_is_seen_before_between_and_after_the_parts_of_a_layer():
    layer = nn.EncoderLayer(8, 2, 12)
    with capture(layer) as seen:
        output = layer(X)
    at = seen.tensors
    np.testing.assert_array_equal(at["residual1.before"].data, X)
    np.testing.assert_array_equal(at["residual1"].data, X + at["self_attn"].data)
    assert at["residual2.before"] is at["residual1"]
    np.testing.assert_array_equal(at["residual2"].data, at["residual1"].data + at["feed_forward"].data)
    assert at["residual2"] is at[""] is output


def test_heads_side_by_side_are_what_the_output_projection_gets():
    layer = nn.MultiHeadAttention(8, 2)
    with capture(layer) as seen:
        layer(X)
    joined = seen.tensors["heads"].data.reshape(2, 5, 8)
    expected = joined @ layer.out_proj.weight.data.T + layer.out_proj.bias.data
    np.testing.assert_allclose(seen.tensors["out_proj"].data, expected, atol=1e-6)


def test_weights_are_recorded_only_where_a_name_asks_for_them(monkeypatch):
    asked = []
    attention = nn.attention.ops.attention
    monkeypatch.setattr(
        nn.attention.ops, "attention", lambda *a, **s: (asked.append(s["return_weights"]), attention(*a, **s))[1]
    )
    model = gpt()
    for names in (None, "layers.*.self_attn", "layers.1.*"):
        with capture(model, names) as seen:
            model(TOKENS)
    assert asked == [False, False, False, False, False, True]
    assert seen.tensors[f"{LAST}.self_attn.weights"].shape == (3, 2, 6, 6)
    np.testing.assert_allclose(seen.tensors[f"{LAST}.self_attn.weights"].data.sum(-1), 1.0, rtol=1e-5)


def test_names_may_be_patterns():
    model = gpt()
    with capture(model, "layers.*.self_attn") as one, capture(model, ["", "layers.?"]) as two:
        model(TOKENS)
    assert list(one.tensors) == ["layers.0.self_attn", "layers.1.self_attn"]
    assert list(two.tensors) == ["layers.0", "layers.1", ""]


@pytest.mark.parametrize(
    ("name", "close"),
    [("layers.1.atn", "did you mean .*layers.1.self_attn"), ("xyz123", "`named_modules` lists its modules")],
)
def test_a_name_that_fits_nothing_is_an_error_that_knows_close_ones(name, close):
    model = gpt()
    for context in (lambda: capture(model, ["", name]), lambda: intervene(model, {name: abs})):
        with pytest.raises(InputError, match=f"GPT has nothing inside named '{name}'.*{close}"), context():
            pass
    assert not is_watched()


def test_every_call_has_a_name_of_its_own():
    shared = nn.Linear(8, 8)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    with capture(model) as seen:
        first = model(X)
        second = model(X * 2.0)
    assert list(seen.tensors) == ["0", "1", "0#2", "", "0#3", "1#2", "0#4", "#2"]
    assert seen.tensors[""] is seen.tensors["0#2"] is first
    assert seen.tensors["#2"] is second


def test_a_shared_module_goes_by_the_first_of_its_names_that_was_asked_for():
    shared = nn.Linear(8, 8)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    with capture(model, "2") as seen:
        model(X)
    assert list(seen.tensors) == ["2", "2#2"]


class Pair(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        y = self.inner(x)
        return y, y * 2.0, "no array", None


def test_all_values_of_a_tuple_are_recorded():
    model = nn.Sequential(Pair())
    with capture(model) as seen:
        output = model(X)
    assert list(seen.tensors) == ["0.inner", "0", "0:1", "", ":1"]
    assert seen.tensors["0:1"] is output[1]
    assert output[2:] == ("no array", None)


def test_a_named_tuple_stays_one():
    class Two(NamedTuple):
        first: Tensor
        second: Tensor

    class Named(nn.Module):
        def forward(self, x):
            return Two(x * 1.0, x * 2.0)

    module = Named()
    with capture(module) as seen, intervene(module, {"": lambda x: x * 0.0}):
        output = module(X)
    assert not output.first.data.any()
    assert output.second is seen.tensors[":1"]


def test_whole_numbers_are_recorded_without_a_gradient():
    class Best(nn.Module):
        def forward(self, x):
            return x.data.argmax(-1)

    module = Best()
    with capture(module) as seen, intervene(module, {"": lambda ids: ids.data + 1}):
        ids = module(X)
    np.testing.assert_array_equal(ids.data, X.argmax(-1) + 1)
    assert seen.tensors[""] is ids
    assert not ids.requires_grad


def test_arrays_of_another_library_are_recorded_and_replaced_as_they_are():
    class Double(nn.Module):
        def forward(self):
            return xp.ones(3) * 2.0

    module = Double()
    with capture(module) as seen, intervene(module, {"": lambda x: x + 1.0}):
        output = module()
    assert seen.tensors[""] is output
    assert bool(xp.all(output == 3.0))
    with intervene(module, {"": lambda x: x[:2]}), pytest.raises(InputError, match=r"shape \[3\], got \[2\]"):
        module()


def test_forward_written_out_inside_a_module_is_a_call_like_any_other():
    class Outer(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(8, 8)

        def forward(self, x):
            return self.inner.forward(x)

    class Inherited(Outer):
        def forward(self, x):
            return super().forward(x) * 2.0

    model = Inherited()
    with capture(model) as seen:
        output = model.forward(X)
    assert list(seen.tensors) == ["inner", ""]
    np.testing.assert_array_equal(seen.tensors["inner"].data * 2.0, output.data)


class Point(nn.Module):
    def forward(self, x):
        return self.observe("middle", x)


def test_a_point_that_the_class_does_not_list_is_an_error_only_where_somebody_looks():
    module = Point()
    module(X)
    with capture(module), pytest.raises(InputError, match="Point observes 'middle', which is not among its points"):
        module(X)


# Ops


def test_ops_are_recorded_on_request_under_the_module_that_they_run_in():
    layer = nn.MultiHeadAttention(8, 2)
    with capture(layer, ops=True) as seen:
        layer(X)[0].sum()
    ops_seen = [name for name in seen.tensors if ":" in name]
    assert ops_seen[:4] == ["q_proj:linear", "k_proj:linear", "v_proj:linear", ":split_heads"]
    assert {":split_heads#2", ":split_heads#3", ":attention", ":merge_heads", "out_proj:linear"} < set(ops_seen)
    assert "sum" not in " ".join(ops_seen)
    assert seen.tensors["q_proj"] is seen.tensors["q_proj:linear"]


def test_names_choose_among_ops_too():
    model = gpt()
    with capture(model, ["*:layer_norm", f"{LAST}"], ops=True) as seen:
        model(TOKENS)
    assert len(seen.tensors) == 6
    assert sum(name.endswith(":layer_norm") for name in seen.tensors) == 5
    for context in (lambda: capture(model, "*:layer_norm"), lambda: intervene(model, {"*:layer_norm": abs})):
        with pytest.raises(InputError, match="nothing inside named"), context():
            pass


def test_ops_of_an_intervening_function_are_not_the_models_own():
    model = nn.Sequential(nn.Linear(8, 8))
    with intervene(model, {"0": lambda x: x * 2.0}), capture(model, ops=True) as seen:
        model(X)
    assert list(seen.tensors) == ["0:linear", "0", ""]


# Gradients


@every_kind
def test_gradients_by_name_agree_with_central_differences(kind, make):
    model = make(kind)
    rng = np.random.default_rng(2)
    weights = rng.standard_normal(run(model).shape)
    with capture(model, "*") as seen:
        loss = mean_loss(model, weights)
    found = gradients(loss, seen.tensors)
    assert len(found) == len(seen.tensors) > 25
    for name, grad in found.items():
        direction = rng.standard_normal(seen.tensors[name].shape)
        values = []
        for epsilon in (1e-5, -1e-5):
            with intervene(model, {name: lambda x, step=epsilon * direction: x + step}), no_grad():
                values.append(mean_loss(model, weights).item())
        numeric, derived = (values[0] - values[1]) / 2e-5, np.vdot(grad, direction)
        assert abs(numeric - derived) < 1e-6 * max(1.0, abs(numeric)), name


@every_kind
def test_capturing_changes_no_bit_of_the_output_and_the_gradients_only_by_rounding(kind, make):
    model = make(kind)
    plain = run(model)
    with capture(model, "*"):
        captured = run(model)
    np.testing.assert_array_equal(captured.data, plain.data)
    parameters = list(model.parameters())
    for a, b in zip(*(gradients((o * plain.data).sum(), parameters) for o in (plain, captured)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * max(1.0, abs(a).max()))


@pytest.mark.parametrize("length", [6, 140])
def test_capturing_weights_changes_no_bit_under_dropout_either(length):
    x = np.random.default_rng(3).standard_normal((2, length, 8)).astype(np.float32)
    layer = nn.MultiHeadAttention(8, 4, 0.5, num_kv_heads=2)
    layer.dropout.reseed(1)
    plain = layer(x, causal=True)
    dx = layer.backward(np.ones(x.shape))
    layer.dropout.reseed(1)
    with capture(layer, "weights") as seen:
        captured = layer(x, causal=True)
    np.testing.assert_array_equal(plain[0].data, captured[0].data)
    np.testing.assert_allclose(seen.tensors["weights"].data.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(layer.backward(np.ones(x.shape)), dx, atol=2e-5)


def test_weights_under_dropout_have_the_gradient_of_what_was_computed(randomise):
    layer = randomise(nn.MultiHeadAttention(8, 2, 0.5))
    direction = np.random.default_rng(4).standard_normal((2, 2, 5, 5))

    def value(step=0.0):
        layer.dropout.reseed(1)
        with intervene(layer, {"weights": lambda w: w + step * direction}), capture(layer, "weights") as seen:
            output, _ = layer(X)
        return (output * output).sum(), seen.tensors

    loss, tensors = value()
    derived = np.vdot(gradients(loss, tensors)["weights"], direction)
    assert (value(1e-5)[0].item() - value(-1e-5)[0].item()) / 2e-5 == pytest.approx(derived, rel=1e-6)


def test_what_frozen_parts_compute_has_a_gradient_too():
    model = gpt()
    with capture(model) as seen:
        expected = gradients(loss_of(model), seen.tensors)
    model.freeze()
    with capture(model) as seen:
        found = gradients(loss_of(model), seen.tensors)
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        np.testing.assert_allclose(found[name], grad, atol=1e-6, err_msg=name)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())


def test_a_frozen_parameter_that_a_module_returns_stays_frozen():
    class Table(nn.Module):
        def __init__(self):
            self.weight = nn.init.ones(8)

        def forward(self):
            return self.weight

    table = Table().freeze()
    with capture(table) as seen:
        loss = (table() * 2.0).sum()
    np.testing.assert_array_equal(gradients(loss, seen.tensors)[""], np.full(8, 2.0))
    assert not table.weight.requires_grad


# Intervention


def test_an_output_is_replaced_by_what_a_function_makes_of_it():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    with intervene(model, {"0": lambda x: x * 0.0 + 3.0}):
        np.testing.assert_array_equal(model(X).data, 3.0)
    assert (model(X).data != 3.0).any()


def test_gradients_flow_through_the_function():
    model = nn.Sequential(nn.Linear(8, 8))
    model(X)
    expected = model.backward(np.full(X.shape, 3.0))
    with intervene(model, {"0": lambda x: x * 3.0}):
        model(X)
    np.testing.assert_allclose(model.backward(np.ones(X.shape)), expected, rtol=1e-5)


def test_an_array_may_take_the_place_of_an_output_and_stops_gradients():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with intervene(model, {"0": lambda x: np.zeros(x.shape)}):
        output = model(X)
    assert output.dtype == np.float32
    output.sum().backward()
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None


def test_one_head_can_be_replaced(randomise):
    layer = randomise(nn.MultiHeadAttention(8, 2))
    second = np.array([0.0, 1.0])[:, None]
    with capture(layer) as plain:
        layer(X)
    with intervene(layer, {"heads": lambda h: h * second}), capture(layer) as seen:
        layer(X)
    np.testing.assert_array_equal(seen.tensors["heads"].data[:, :, 0], 0.0)
    np.testing.assert_array_equal(seen.tensors["heads"].data[:, :, 1], plain.tensors["heads"].data[:, :, 1])
    joined = seen.tensors["heads"].data.reshape(2, 5, 8)
    expected = joined @ layer.out_proj.weight.data.T + layer.out_proj.bias.data
    np.testing.assert_allclose(seen.tensors[""].data, expected)


def test_replaced_weights_make_the_heads(randomise):
    layer = randomise(nn.MultiHeadAttention(8, 4, num_kv_heads=2))
    with intervene(layer, {"weights": lambda w: np.full(w.shape, 0.2)}), capture(layer) as seen, inference():
        layer(X)
    v = seen.tensors["v_proj"].data.reshape(2, 5, 2, 2).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(seen.tensors["heads"].data, np.broadcast_to(v.repeat(2, axis=2), (2, 5, 4, 2)))


def test_the_first_value_of_a_tuple_is_replaced():
    model = Pair()
    with intervene(model, {"": lambda x: x * 0.0}):
        first, second, *rest = model(X)
    assert not first.data.any()
    assert second.data.any()
    assert rest == ["no array", None]


def test_several_interventions_act_in_order_and_capture_sees_their_result():
    model = nn.Sequential(nn.Linear(8, 8))
    with capture(model) as outer, intervene(model, {"0": lambda x: x * 0.0 + 1.0, "?": lambda x: x + 1.0}):
        with intervene(model, {"0": lambda x: x * 10.0}), capture(model) as inner:
            model(X)
        model(X)
    assert {name: np.unique(t.data).tolist() for name, t in outer.tensors.items()} == {
        "0": [20.0],
        "": [20.0],
        "0#2": [2.0],
        "#2": [2.0],
    }
    assert list(inner.tensors) == ["0", ""]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: None, r"the function for '0' must return an array of shape \[2, 5, 8\], got None"),
        (lambda x: 0.0, r"must return an array of shape \[2, 5, 8\], got 0.0"),
        (lambda x: x[:1], r"the function for '0' must return the shape \[2, 5, 8\], got \[1, 5, 8\]"),
        (lambda x: Tensor(x.data.astype(np.float64)), "the function for '0' must return float32, got float64"),
    ],
)
def test_a_function_that_returns_something_else_is_one_sentence(function, message):
    model = nn.Sequential(nn.Linear(8, 8))
    with intervene(model, {"0": function}), pytest.raises(InputError, match=message):
        model(X)
    assert not is_watched()


def test_what_is_no_array_cannot_be_replaced():
    class Shape(nn.Module):
        def forward(self, x):
            return list(x.shape)

    model = Shape()
    with (
        intervene(model, {"": abs}),
        pytest.raises(InputError, match="'' cannot be replaced: it is no array but a list"),
    ):
        model(X)


# The block


def test_nothing_is_left_behind_after_an_exception():
    model = gpt()
    state = {name: dict(vars(module)) for name, module in model.named_modules()}

    def fail(x):
        raise KeyError

    with pytest.raises(KeyError), capture(model, ops=True) as seen, intervene(model, {LAST: fail}):
        model(TOKENS)
    assert not is_watched()
    count = len(seen.tensors)
    loss = loss_of(model)
    assert len(seen.tensors) == count
    for name, module in model.named_modules():
        assert vars(module).keys() - {"_call"} == state[name].keys() - {"_call"}
    loss.backward()


def test_a_call_after_one_that_failed_inside_the_block_is_seen_as_usual():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with capture(model, ops=True) as seen:
        with pytest.raises(InputError):
            model(X[..., :3])
        model(X)
        ops.mul(Tensor(X), 2.0)
    assert list(seen.tensors) == ["0:linear", "0", "1:linear", "1", ""]


def test_other_threads_see_and_replace_nothing():
    model = gpt()
    plain, found = model(TOKENS).data, []
    with capture(model) as seen, intervene(model, {LAST: lambda x: x * 0.0}):
        thread = threading.Thread(target=lambda: found.append(model(TOKENS).data))
        thread.start()
        thread.join()
        assert seen.tensors == {}
        model(TOKENS)
    np.testing.assert_array_equal(found[0], plain)


def run_elsewhere(model):
    thread = threading.Thread(target=lambda: model(TOKENS))
    thread.start()
    thread.join()


@pytest.mark.parametrize("act", [lambda model: None, lambda model: gpt()(TOKENS), run_elsewhere])
def test_an_intervention_that_nothing_passed_is_an_error(act):
    model = gpt()

    def intervene_at_two_places():
        with intervene(model, {"token_embedding": lambda x: x, "layers.*": lambda x: x}):
            model.token_embedding(TOKENS)
            act(model)

    with pytest.raises(
        InputError, match=r"nothing named 'layers\.\*' was computed in this thread, so nothing was replaced"
    ):
        intervene_at_two_places()


def test_another_model_is_not_seen():
    model = gpt()
    with capture(model) as seen:
        gpt()(TOKENS)
        copy.deepcopy(model)(TOKENS)
    assert seen.tensors == {}


def test_a_part_of_a_model_can_be_looked_into_alone():
    model = gpt()
    part = dict(model.named_modules())[LAST]
    with capture(part) as seen:
        model(TOKENS)
    assert {"", "self_attn", "self_attn.heads"} < set(seen.tensors)
    assert not any(name.startswith("layers") for name in seen.tensors)


# Together with other features


@pytest.mark.parametrize("context", [no_grad, inference])
def test_values_are_recorded_and_replaced_without_gradients(context):
    model = gpt()
    with capture(model) as seen, intervene(model, {LAST: lambda x: x * 0.0}), context():
        model(TOKENS)
    assert not any(tensor.requires_grad for tensor in seen.tensors.values())
    assert not seen.tensors[LAST].data.any()


def test_dropout_acts_on_a_captured_model_as_elsewhere_and_not_under_inference():
    model = gpt(dropout=0.5)
    with inference(), capture(model, "") as first:
        model(TOKENS)
        model(TOKENS)
    np.testing.assert_array_equal(first.tensors[""].data, first.tensors["#2"].data)
    with capture(model, "") as second:
        model(TOKENS)
        model(TOKENS)
    assert (second.tensors[""].data != second.tensors["#2"].data).any()


def test_nothing_is_recomputed_where_somebody_looks():
    model, plain = gpt(dropout=0.2), gpt(dropout=0.2)
    nn.set_recompute(model, True)
    found = []
    for each in (model, plain):
        with intervene(each, {"layers.0": lambda x: x * 2.0}), capture(each) as seen:
            loss = loss_of(each)
        found.append(gradients(loss, seen.tensors | dict(each.named_parameters())))
    assert found[0].keys() == found[1].keys()
    for name, grad in found[1].items():
        np.testing.assert_array_equal(found[0][name], grad, err_msg=name)


def test_a_function_under_recompute_is_not_recomputed_either():
    layer = nn.Linear(8, 8)
    with capture(layer) as seen:
        loss = recompute(layer, Tensor(X), parameters=list(layer.parameters())).sum()
    np.testing.assert_array_equal(gradients(loss, seen.tensors)[""], 1.0)


def test_the_second_run_of_a_function_that_was_not_watched_is_not_watched_either():
    layer = nn.Linear(8, 8)
    loss = recompute(layer, Tensor(X), parameters=list(layer.parameters())).sum()
    with capture(layer, ops=True) as seen, intervene(layer, {"": lambda y: y * 0.0}):
        loss.backward()
        assert seen.tensors == {}
        layer(X)
    np.testing.assert_array_equal(layer.bias.grad, 10.0)


def test_generation_is_seen_token_by_token_and_follows_an_intervention():
    model = gpt()
    names = [LAST, f"{LAST}.self_attn.weights"]
    with capture(model, names) as seen:
        plain = model.generate([[1, 2, 3]], 3, temperature=0.0)
    assert {name: t.shape for name, t in seen.tensors.items() if "weights" in name} == {
        f"{LAST}.self_attn.weights": (1, 2, 3, 3),
        f"{LAST}.self_attn.weights#2": (1, 2, 1, 4),
        f"{LAST}.self_attn.weights#3": (1, 2, 1, 5),
    }
    for use_cache in (True, False):
        with capture(model, "") as seen, intervene(model, {LAST: lambda x: x * 0.0}):
            model.generate([[1, 2, 3]], 3, temperature=0.0, use_cache=use_cache)
        assert not any(tensor.data.any() for tensor in seen.tensors.values())
    np.testing.assert_array_equal(plain[0], model.generate([[1, 2, 3]], 3, temperature=0.0)[0])


def test_a_decoder_with_a_cache_is_seen_and_changed_as_without_one(make):
    model, memory_mask = make("encoder-decoder"), MASK[:1]
    cross = "decoder.layers.0.cross_attn"
    names = [f"{cross}.weights", f"{cross}.heads", f"{cross}.k_proj", "decoder"]
    drop_one = {f"{cross}.heads": lambda heads: ops.mul(heads, np.array([0.0, 1.0])[:, None])}
    memory, cache = model.encode(TOKENS[:1], memory_mask), model.make_cache(1)
    cache.set_sources(memory_mask)
    with inference(), capture(model, names) as whole, intervene(model, drop_one):
        model.decode(TOKENS[:1, :4], memory, memory_mask)
    with inference(), capture(model, names) as steps, intervene(model, drop_one):
        for t in range(4):
            model.decode(TOKENS[:1, t : t + 1], memory, memory_mask, cache=cache)
    assert sum(name.startswith(f"{cross}.k_proj") for name in steps.tensors) == 1  # kept in the cache from then on
    for name, axis in ((f"{cross}.weights", 2), (f"{cross}.heads", 1), ("decoder", 1)):
        parts = [tensor.data for key, tensor in steps.tensors.items() if key.partition("#")[0] == name]
        np.testing.assert_allclose(np.concatenate(parts, axis), whole.tensors[name].data, atol=1e-12)


def test_a_bound_model_counts_as_the_model_that_it_was_made_from():
    model = gpt()
    state = {name: Tensor(value, requires_grad=True) for name, value in model.state_dict().items()}
    before = model.bind(state)
    with capture(model) as seen, capture(before, LAST) as through_it:
        logits = before(TOKENS)
        model.bind(state).bind(state)(TOKENS)
        model(TOKENS)
    assert seen.tensors[""] is logits
    assert "#3" in seen.tensors
    assert list(through_it.tensors) == [LAST, f"{LAST}#2", f"{LAST}#3"]


def test_a_model_bound_to_arrays_is_seen_with_gradients():
    model = gpt()
    bound = model.bind(model.state_dict())
    with capture(model) as seen:
        loss = loss_of(bound)
    with capture(model) as expected:
        expected_loss = loss_of(model)
    found, expected = gradients(loss, seen.tensors), gradients(expected_loss, expected.tensors)
    for name, grad in expected.items():
        np.testing.assert_allclose(found[name], grad, atol=1e-6, err_msg=name)
    with capture(model) as seen, no_grad():
        assert not isinstance(bound(TOKENS), Tensor)
    assert all(isinstance(tensor, Tensor) for tensor in seen.tensors.values())


def test_a_bound_model_can_be_copied():
    bound = nn.Linear(8, 8).bind({"bias": np.ones(8, np.float32)})
    np.testing.assert_array_equal(copy.deepcopy(bound)(X).data, bound(X).data)


def test_modules_can_be_pulled_back_while_they_are_captured():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model(X)
    expected = model.backward(np.ones(X.shape))
    with capture(model):
        model(X)
    np.testing.assert_array_equal(model.backward(np.ones(X.shape)), expected)


def test_values_are_recorded_in_float32_where_the_backward_pass_keeps_float16():
    model = gpt()
    with capture(model) as plain:
        model(TOKENS[:, :-1])
    with storage("float16-storage"), capture(model) as seen:
        gradients(loss_of(model), seen.tensors)
    for name, tensor in seen.tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor.data, plain.tensors[name].data, err_msg=name)


def test_work_shared_among_cores_stays_in_the_thread_that_looks():
    model = gpt()

    def zeroed(step, number):
        return threading.get_ident(), float(abs(model(TOKENS).data).max())

    with intervene(model, {LAST: lambda x: x * 0.0}), capture(model, LAST) as seen, Workers(2) as workers:
        answers = [*workers.map(zeroed, [0, 0], [0, 1]), *workers.team(zeroed, 2).run(0)]
    assert answers == [(threading.get_ident(), 0.0)] * 4
    assert len(seen.tensors) == 4


def test_training_and_measuring_follow_an_intervention_whatever_the_threads():
    text = "the cat sat on the mat. a dog ran to the owl.\n" * 60
    quick = {"steps": 2, "batch_size": 4, "shards": 2, "eval_every": 2, "eval_examples": 4, "progress": False}
    losses = []
    for threads in (1, 2):
        lm = nf.LanguageModel.from_text(text, d_model=16, num_heads=2, num_layers=2, max_seq_len=8)
        with intervene(lm.model, {"layers.*": lambda x: x * 0.0}):
            result = lm.fit(**quick, threads=threads)
            losses.append((result.loss, result.val_loss, lm.evaluate(max_windows=4)["loss"]))
        assert lm.evaluate(max_windows=4)["loss"] != losses[-1][-1]
    assert losses[0] == losses[1]


def test_a_name_whose_module_never_ran_is_an_error_at_the_end_of_the_block():
    model = build_model(BertConfig(vocab_size=9, d_model=8, num_heads=2, num_layers=1), "classify")
    with pytest.raises(InputError, match="nothing named 'backbone' was computed"), capture(model, "backbone"):
        model(np.array([[1, 2, 3]]))
    with capture(model, ["backbone.layers.0", "*.self_attn"]) as seen:
        model(np.array([[1, 2, 3]]))
    assert set(seen.tensors) == {"backbone.layers.0", "backbone.layers.0.self_attn"}


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda model: nn.capture(model, 3), "capture takes names of modules or patterns of them, got 3"),
        (lambda model: nn.capture(model, [3]), r"capture takes names of modules or patterns of them, got \[3\]"),
        (lambda _: nn.capture(3), "capture looks into a module, got 3"),
        (lambda _: nn.intervene(3, {}), "intervene looks into a module, got 3"),
        (lambda model: nn.intervene(model, {"0": 3}), r"intervene takes a function for each name, .* got \{'0': 3\}"),
        (lambda model: nn.intervene(model, "0"), "intervene takes a function for each name, .* got '0'"),
        (lambda _: nn.record_attention(3), "record_attention looks into a module, got 3"),
    ],
    ids=range(7),
)
def test_what_cannot_be_looked_at_is_said_in_a_sentence(look, message):
    with pytest.raises(InputError, match=message), look(nn.Sequential(nn.ReLU())):
        pass
