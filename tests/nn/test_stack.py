import numpy as np
import pytest

from numformer import GPT, Tensor, gradients, nn, no_grad, random
from numformer.models import BertConfig, GPTConfig, TransformerConfig, build_model

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12, "max_seq_len": 7}
TOKENS = np.random.default_rng(0).integers(1, 11, (3, 6))
MASK = np.arange(6) < np.array([[6], [3], [4]])


def make(kind, dropout=0.2, **settings):
    if kind == "transformer":
        sizes = SIZES | {"src_vocab_size": 11, "tgt_vocab_size": 11, "num_encoder_layers": 2, "num_decoder_layers": 2}
        return build_model(TransformerConfig(**sizes, dropout=dropout, **settings), "seq2seq", seed=1)
    config = {"bert": BertConfig, "gpt2": GPTConfig}[kind]
    return build_model(config(**SIZES, vocab_size=11, num_layers=2, dropout=dropout), "tagging", seed=1)


def run(model):
    if hasattr(model, "decoder"):
        return model(np.where(MASK, TOKENS, 0), TOKENS[:, :5])
    return model(TOKENS, MASK)


def stacks(model):
    return [module for _, module in model.named_modules() if isinstance(module, nn.Stack)]


def all_gradients(model, stream=None):
    parameters = list(model.parameters())
    if stream is None:
        output = run(model)
    else:
        with random.use(stream):
            output = run(model)
    return [output.data, *gradients((output * output.data).sum(), parameters)]


every_kind = pytest.mark.parametrize("kind", ["transformer", "bert", "gpt2"])


def assert_same(plain, again, exact=False):
    """Compare; the gradient of a memory that several layers read is summed in another order with recomputation."""
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=0.0 if exact else 1e-12 * max(1.0, abs(one).max()))


@every_kind
@pytest.mark.parametrize("stream", [random.Stream, lambda *key: None], ids=["one stream", "streams of the layers"])
def test_recomputation_changes_neither_the_output_nor_the_gradients(kind, stream):
    found = []
    for wanted in (False, True):
        model = make(kind).astype(np.float64)
        nn.set_recompute(model, wanted)
        found += [all_gradients(model, stream(1)), all_gradients(model, stream(2))]
    assert_same(found[0], found[2], exact=kind != "transformer")
    assert_same(found[1], found[3], exact=kind != "transformer")
    assert (found[0][0] != found[1][0]).any()  # dropout drew anew


def test_recomputation_in_a_post_norm_encoder_decoder_too():
    found = []
    for wanted in (False, True):
        model = make("transformer", pre_norm=False).astype(np.float64)
        nn.set_recompute(model, wanted)
        found.append(all_gradients(model))
    assert_same(*found)


@every_kind
def test_it_is_switched_on_and_off_in_every_stack(kind):
    model = make(kind)
    for wanted in (True, False):
        nn.set_recompute(model, wanted)
        assert {stack.recompute for stack in stacks(model)} == {wanted}
    assert len(stacks(model)) == (2 if kind == "transformer" else 1)


def counted(model, monkeypatch):
    """Return a list that gets an entry whenever a layer of a stack runs."""
    calls = []
    for stack in stacks(model):
        for layer in stack:
            forward = layer.forward
            monkeypatch.setattr(layer, "forward", lambda *a, f=forward, **s: (calls.append(1), f(*a, **s))[1])
    return calls


@every_kind
@pytest.mark.parametrize("wanted", [False, True])
def test_each_layer_runs_once_more_for_the_backward_pass_only_where_wanted(kind, wanted, monkeypatch):
    model = make(kind)
    calls = counted(model, monkeypatch)
    nn.set_recompute(model, wanted)
    layers = 4 if kind == "transformer" else 2
    output = run(model)
    assert len(calls) == layers
    output.sum().backward()
    assert len(calls) == (2 * layers if wanted else layers)
    with no_grad():
        run(model)
    assert len(calls) == (3 * layers if wanted else 2 * layers)


def test_recomputation_holds_fewer_bytes_between_the_passes(measure_bytes):
    model = build_model(BertConfig(vocab_size=11, d_model=32, num_layers=6, max_seq_len=64, dropout=0.0), "tagging")
    tokens, held = np.ones((4, 64), int), []
    for wanted in (False, True):
        nn.set_recompute(model, wanted)
        model(tokens)
        held.append(measure_bytes(lambda: model(tokens))[1])
    assert held[1] < 0.25 * held[0]


@every_kind
def test_frozen_layers_get_no_gradient_with_recomputation(kind):
    model = make(kind)
    nn.set_recompute(model, True)
    frozen = "encoder.layers.0" if kind == "transformer" else "backbone.layers.0"
    model.freeze(frozen)
    run(model).sum().backward()
    assert all((p.grad is None) is name.startswith(f"{frozen}.") for name, p in model.named_parameters())


def test_a_frozen_encoder_needs_no_second_run(monkeypatch):
    model = make("transformer")
    model.freeze("encoder", "src_embedding")
    nn.set_recompute(model, True)
    calls = counted(model, monkeypatch)
    run(model).sum().backward()
    assert len(calls) == 2 + 4


def test_the_gradient_of_the_input_and_of_other_tensors_comes_through(randomise):
    stack = randomise(nn.Stack(nn.DecoderLayer(8, 2, 12) for _ in range(2)))
    rng, found = np.random.default_rng(0), []
    x, memory = rng.standard_normal((2, 5, 8)), rng.standard_normal((2, 6, 8))
    for wanted in (False, True):
        stack.recompute = wanted
        leaves = Tensor(x, requires_grad=True), Tensor(memory, requires_grad=True)
        output = stack(*leaves, memory_mask=MASK[:2, None, None])
        found.append(gradients((output * output.data).sum(), leaves))
    assert_same(*found)
    assert all(abs(grad).max() > 1e-3 for grad in found[0])


def test_a_stack_is_its_layers_one_after_the_other(randomise):
    stack = randomise(nn.Stack(nn.EncoderLayer(8, 2, 12) for _ in range(3)))
    x = np.random.default_rng(0).standard_normal((3, 6, 8))
    expected = x
    for layer in stack:
        expected = layer(expected, MASK[:, None, None]).data
    np.testing.assert_array_equal(stack(x, mask=MASK[:, None, None]).data, expected)
    assert [name for name, _ in stack.named_children()] == ["0", "1", "2"]


def test_recomputation_does_not_disturb_generation_with_a_cache():
    model = GPT(vocab_size=11, **SIZES, num_layers=2, seed=1)
    plain = model.generate([[1, 2, 3]], 9, temperature=0.0)
    nn.set_recompute(model, True)
    np.testing.assert_array_equal(model.generate([[1, 2, 3]], 9, temperature=0.0), plain)
