import threading

import numpy as np
import pytest

from numformer import GPT, InputError, gradients, nn, no_grad, ops
from numformer.models import BertConfig, GPTConfig, TransformerConfig, build_model

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12, "max_seq_len": 7, "dropout": 0.0}
TOKENS = np.random.default_rng(0).integers(1, 11, (3, 6))
MASK = np.arange(6) < np.array([[6], [3], [4]])
TARGETS = TOKENS[:, :5]
ENCODER_DECODER = {
    **{f"encoder.layers.{n}.self_attn": (3, 2, 6, 6) for n in range(2)},
    **{f"decoder.layers.{n}.self_attn": (3, 2, 5, 5) for n in range(3)},
    **{f"decoder.layers.{n}.cross_attn": (3, 2, 5, 6) for n in range(3)},
}
SHAPES = {
    "transformer": ENCODER_DECODER,
    "bert": {f"backbone.layers.{n}.self_attn": (3, 2, 6, 6) for n in range(2)},
    "gpt2": {f"backbone.layers.{n}.self_attn": (3, 2, 6, 6) for n in range(2)},
}
every_kind = pytest.mark.parametrize("kind", SHAPES)


@pytest.fixture
def make(randomise):
    def make(kind, **settings):
        if kind == "transformer":
            sizes = {"src_vocab_size": 11, "tgt_vocab_size": 11, "num_encoder_layers": 2, "num_decoder_layers": 3}
            return randomise(build_model(TransformerConfig(**SIZES | sizes | settings), "seq2seq"))
        config = {"bert": BertConfig, "gpt2": GPTConfig}[kind]
        return randomise(build_model(config(**SIZES | {"vocab_size": 11, "num_layers": 2} | settings), "tagging"))

    return make


def run(model):
    if hasattr(model, "decoder"):
        return model(np.where(MASK, TOKENS, 0), TARGETS)
    return model(TOKENS, MASK)


@every_kind
def test_every_attention_is_recorded_under_its_name(kind, make):
    model = make(kind)
    with nn.record_attention(model) as maps:
        run(model)
    assert {name: weights.shape for name, weights in maps.items()} == SHAPES[kind]
    assert all(isinstance(weights, np.ndarray) for weights in maps.values())


@every_kind
def test_the_weights_of_a_query_sum_to_one_over_the_keys_it_may_see(kind, make):
    model = make(kind)
    with nn.record_attention(model) as maps:
        run(model)
    for name, weights in maps.items():
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, err_msg=name)
        T, S = weights.shape[-2:]
        visible = np.ones((3, 1, T, S), bool)
        if S == 6:
            visible &= MASK[:, None, None]
        if kind == "gpt2" or (name.startswith("decoder") and name.endswith("self_attn")):
            visible &= np.tri(T, S, dtype=bool)
        visible = np.broadcast_to(visible, weights.shape)
        assert (weights[~visible] == 0.0).all(), name
        assert (weights[visible] > 0.0).all(), name


@every_kind
def test_recording_changes_no_bit_of_the_output_and_the_gradients(kind, make):
    model = make(kind)
    plain = run(model)
    with nn.record_attention(model):
        recorded = run(model)
    np.testing.assert_array_equal(recorded.data, plain.data)
    parameters = list(model.parameters())
    found = [gradients((output * plain.data).sum(), parameters) for output in (plain, recorded)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * max(1.0, abs(a).max()))


def test_the_recorded_weights_are_those_before_dropout(make):
    model, found = make("bert", dropout=0.5), []
    for training in (True, False):
        model.train(training)
        with nn.record_attention(model) as maps, no_grad():
            run(model)
        found.append(maps["backbone.layers.0.self_attn"])
    for weights in found:
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0)


def test_nothing_is_recorded_after_the_block(make):
    model = make("bert")
    with nn.record_attention(model) as maps:
        run(model)
    before = {name: weights.copy() for name, weights in maps.items()}
    model(TOKENS[:1, :2])
    assert maps.keys() == before.keys()
    for name, weights in maps.items():
        np.testing.assert_array_equal(weights, before[name])


def test_nothing_is_recorded_after_an_error_in_the_block(make, monkeypatch):
    model = make("bert")
    with pytest.raises(KeyError), nn.record_attention(model):
        raise KeyError
    calls = []
    attention = nn.attention.ops.attention
    monkeypatch.setattr(
        nn.attention.ops, "attention", lambda *a, **s: (calls.append(s["return_weights"]), attention(*a, **s))[1]
    )
    run(model)
    assert calls == [False, False]


def test_the_attention_of_the_last_call_counts(make):
    model = make("gpt2")
    with nn.record_attention(model) as maps:
        run(model)
        model(TOKENS[:1, :2])
    assert {weights.shape for weights in maps.values()} == {(1, 2, 2, 2)}


def test_a_model_that_does_not_run_has_nothing_recorded(make):
    model, other = make("bert"), make("bert")
    with nn.record_attention(other) as maps:
        run(model)
    assert maps == {}


@pytest.mark.parametrize("inner_first", [True, False])
def test_blocks_may_stand_inside_each_other(inner_first, make):
    first, second = make("bert"), make("gpt2")
    with nn.record_attention(first) as outer:
        if not inner_first:
            run(first)
        with nn.record_attention(second) as inner:
            run(second)
            if inner_first:
                run(first)
    assert {name: weights.shape for name, weights in outer.items()} == SHAPES["bert"]
    assert {name: weights.shape for name, weights in inner.items()} == SHAPES["gpt2"]


def test_other_threads_are_not_recorded(make):
    model = make("bert")
    with nn.record_attention(model) as maps:
        run(model)
        thread = threading.Thread(target=lambda: model(TOKENS[:1, :2]))
        thread.start()
        thread.join()
    assert {name: weights.shape for name, weights in maps.items()} == SHAPES["bert"]


def test_a_thread_records_for_itself_while_another_runs(make):
    model, found = make("bert"), {}
    inside, done = threading.Event(), threading.Event()

    def record():
        with nn.record_attention(model) as maps:
            inside.set()
            done.wait(10)
        found.update(maps)

    thread = threading.Thread(target=record)
    thread.start()
    inside.wait(10)
    run(model)
    done.set()
    thread.join()
    assert found == {}


def test_recording_works_with_recomputation_and_with_a_cache(make):
    model = make("bert")
    nn.set_recompute(model, True)
    with nn.record_attention(model) as maps:
        run(model)
    assert {name: weights.shape for name, weights in maps.items()} == SHAPES["bert"]
    gpt = GPT(vocab_size=11, **SIZES, num_layers=1)
    with nn.record_attention(gpt) as maps:
        gpt.generate([[1, 2], [1, 2, 3]], 2)
    assert {name: weights.shape for name, weights in maps.items()} == {"layers.0.self_attn": (2, 2, 1, 4)}


def test_an_attention_on_its_own_is_recorded_too(randomise):
    layer = randomise(nn.EncoderLayer(8, 2, 12))
    x = np.random.default_rng(0).standard_normal((1, 4, 8))
    with nn.record_attention(layer) as maps:
        layer(x)
    _, weights = layer.self_attn(layer.residual1.norm(x))
    assert list(maps) == ["self_attn"]
    np.testing.assert_array_equal(maps["self_attn"], weights.data)


def test_an_attention_written_by_hand_is_recorded_by_its_point():
    class Own(nn.Module):
        points_on_request = ("weights",)

        def forward(self, x):
            weights = self.observe("weights", ops.softmax(ops.matmul(x, ops.transpose(x, axes=(0, 2, 1))))[:, None])
            return ops.matmul(weights[:, 0], x)

    model, x = nn.Sequential(nn.Linear(4, 4), Own()), np.ones((2, 3, 4), np.float32)
    with nn.record_attention(model) as maps:
        model(x)
    assert list(maps) == ["1"]
    np.testing.assert_allclose(maps["1"], np.full((2, 1, 3, 3), 1 / 3), rtol=1e-6)


def test_a_model_without_attention_has_nothing_to_record():
    with pytest.raises(InputError, match="Linear has no attention to record"), nn.record_attention(nn.Linear(2, 2)):
        pass
