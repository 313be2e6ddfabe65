import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import numformer as nf
from numformer import InputError, nn, random
from numformer.autograd import OPS
from numformer.models import GPT, GPTConfig
from numformer.models.disk import names_of
from numformer.testing import check_gradients

SMALL = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12, "max_seq_len": 7}


def draw_tokens(*shape, seed=0, below=11):
    return np.random.default_rng(seed).integers(0, below, shape)


def loss_of(model, tokens, targets, **settings):
    logits = model(tokens)
    return nn.CrossEntropyLoss(**settings)(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


# Against PyTorch and transformers


@pytest.fixture(scope="module")
def golden(in_memory):
    with safe_open(Path(__file__).parents[1] / "golden" / "gpt2.safetensors", "np") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = GPTConfig.from_disk(json.loads(file.metadata()["config"]))
    model = GPT(config)
    model.load_state_dict(in_memory(model, arrays, "weight."))
    return model, arrays


def test_names_are_those_of_gpt2(golden):
    model, arrays = golden
    names = {key.removeprefix("weight.") for key in arrays if key.startswith("weight.")}
    assert {names_of(model).to_disk(name) for name, _ in model.named_parameters()} == names


def test_logits_loss_and_every_gradient_are_those_of_pytorch(golden, in_memory):
    model, arrays = golden
    logits = model(arrays["tokens"])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits.data, arrays["logits"], atol=1e-5 * abs(arrays["logits"]).max())
    loss = loss_of(model, arrays["tokens"], arrays["targets"])
    assert loss.item() == pytest.approx(arrays["loss"].item(), rel=1e-5)
    found = nf.gradients(loss, list(model.parameters()))
    for (name, expected), ours in zip(in_memory(model, arrays, "grad.").items(), found, strict=True):
        error = abs(ours - expected).max() / abs(expected).max()
        assert error <= 1e-5, f"{name} is off by {error:.2g}"


def test_key_biases_get_no_gradient_because_softmax_ignores_a_common_shift(golden):
    model, arrays = golden
    model.zero_grad()
    loss_of(model, arrays["tokens"], arrays["targets"]).backward()
    for layer in model.layers:
        grads = np.split(layer.self_attn.in_proj.bias.grad, 3)
        assert abs(grads[1]).max() < 1e-5 * abs(grads[2]).max()
    model.zero_grad()


# Against differences


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_parameter_gradient_agrees_with_central_differences(dropout, smoothing, randomise):
    model = randomise(GPT(**SMALL, dropout=dropout))
    tokens, targets = draw_tokens(3, 6), draw_tokens(3, 6, seed=1)
    targets[0, :4] = -100

    def loss():
        with random.use(random.Stream(1, 2)):
            return loss_of(model, tokens, targets, label_smoothing=smoothing)

    check_gradients(loss, parameters=list(model.parameters()), tolerance=1e-5)


def test_micro_batches_of_unequal_length_give_the_gradient_of_one_batch(randomise):
    model = randomise(GPT(**SMALL))
    tokens, targets = draw_tokens(5, 6), draw_tokens(5, 6, seed=1)
    targets[0, 2:] = targets[3, :5] = -100
    loss_of(model, tokens, targets).backward()
    whole = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    count = np.count_nonzero(targets != -100)
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        (loss_of(model, tokens[part], targets[part], reduction="sum") / count).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad, whole[name], rtol=1e-9, atol=1e-12)


def test_recomputation_changes_no_bit_of_the_gradients():
    model, tokens, targets = GPT(**SMALL, dropout=0.2), draw_tokens(3, 6), draw_tokens(3, 6, seed=1)
    found = []
    for wanted in (False, True):
        model.layers.recompute = wanted
        with random.use(random.Stream(1)):
            found.append(nf.gradients(loss_of(model, tokens, targets), list(model.parameters())))
    for plain, again in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, again)


# What it computes


@pytest.mark.parametrize("length", [7, 200])
def test_what_comes_later_changes_no_earlier_bit(length):
    model = GPT(**SMALL | {"max_seq_len": length})
    tokens, t = draw_tokens(2, length), length // 2
    before = model(tokens).data
    tokens[:, t] = (tokens[:, t] + 1) % 11
    after = model(tokens).data
    np.testing.assert_array_equal(before[:, :t], after[:, :t])
    assert (before[:, t] != after[:, t]).any()


def test_every_row_of_a_batch_is_computed_alone(randomise):
    model, tokens = randomise(GPT(**SMALL)), draw_tokens(3, 6)
    for row in range(3):
        np.testing.assert_allclose(model(tokens).data[row], model(tokens[row : row + 1]).data[0], atol=1e-12)


def test_the_order_of_tokens_matters():
    model = GPT(**SMALL)
    assert (model([[1, 2, 3]]).data[:, -1] != model([[2, 1, 3]]).data[:, -1]).any()


def test_logits_at_chosen_positions_are_those_of_the_whole(randomise):
    model, tokens = randomise(GPT(**SMALL)), draw_tokens(3, 6)
    last = np.array([5, 0, 2])
    np.testing.assert_allclose(model(tokens, last=last).data[:, 0], model(tokens).data[range(3), last], atol=1e-12)


def test_dropout_acts_in_training_only():
    model, tokens = GPT(**SMALL, dropout=0.3), draw_tokens(2, 6)
    assert (model(tokens).data != model(tokens).data).any()
    model.eval()
    np.testing.assert_array_equal(model(tokens).data, model(tokens).data)


# Seeds and initial weights


def test_the_same_seed_gives_the_same_weights_and_dropout():
    first, again, other = (GPT(**SMALL, dropout=0.3, seed=seed) for seed in (1, 1, 2))
    tokens = draw_tokens(2, 6)
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert name.endswith(("bias", "norm.weight")) or (a.data != c.data).any()
    np.testing.assert_array_equal(first(tokens).data, again(tokens).data)


def test_initial_weights_are_those_of_gpt2():
    model = GPT(vocab_size=65, d_model=64, num_heads=4, num_layers=8)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.data.any()
        elif name.endswith("norm.weight"):
            assert (parameter.data == 1.0).all()
        else:
            expected = 0.02 / 4.0 if name.endswith(("out_proj.weight", "linear2.weight")) else 0.02
            assert parameter.data.std() == pytest.approx(expected, rel=0.06), name


def test_an_untrained_model_is_undecided():
    model = GPT(vocab_size=65)
    loss = loss_of(model, draw_tokens(4, 32, below=65), draw_tokens(4, 32, seed=1, below=65))
    assert loss.item() == pytest.approx(np.log(65), abs=0.1)


# The way people write it


def test_the_loop_of_the_readme_learns():
    model = nf.GPT(vocab_size=65, d_model=32, num_heads=4, num_layers=1, d_ff=64, max_seq_len=16, dropout=0.1)
    optimizer = nf.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = draw_tokens(4, 16, below=65)
    targets = (tokens * 7) % 65
    losses = []
    for _ in range(40):
        loss = nf.CrossEntropyLoss()(model(tokens).reshape(-1, 65), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 4.0
    assert losses[-1] < 1.0


def test_one_training_step_makes_no_float64_anywhere(monkeypatch):
    seen = set()

    def note(op, values):
        seen.update((op, str(v.dtype)) for v in (values if isinstance(values, tuple) else (values,)) if v is not None)

    def watch(name, body):
        def watched(*arrays, **settings):
            value, vjp = body(*arrays, **settings)
            note(name, value)

            def watched_vjp(*dys):
                note(f"{name} (upstream)", dys)
                grads = vjp(*dys)
                note(f"{name} (gradient)", grads)
                return grads

            return value, watched_vjp

        return watched

    for name, op in OPS.items():
        monkeypatch.setattr(op, "body", watch(name, op.body))
    model = GPT(**SMALL, dropout=0.1)
    optimizer = nf.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of(model, draw_tokens(3, 6), draw_tokens(3, 6, seed=1), label_smoothing=0.1).backward()
    optimizer.step()
    assert {dtype for _, dtype in seen} == {"float32"}, seen
    assert {name for name, _ in seen} >= {"attention", "dropout", "cross_entropy (gradient)", "layer_norm (gradient)"}
    assert {p.dtype for p in model.parameters()} | {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_settings_come_as_a_config_or_as_keywords():
    assert GPT(GPTConfig(**SMALL)).config == GPT(**SMALL).config
    assert GPTConfig(vocab_size=5, d_model=8).ff_width == 32
    with pytest.raises(InputError, match="not both; got a config and d_model"):
        GPT(GPTConfig(**SMALL), d_model=8)


def test_the_config_survives_the_way_to_disk_and_back():
    config = GPTConfig(**SMALL, dropout=0.1, activation="gelu", layer_norm_eps=1e-6)
    assert GPTConfig.from_disk(json.loads(json.dumps(config.to_disk()))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 3}, "num_heads=3 does not divide d_model=8"),
        ({"num_layers": 0}, "num_layers must be a positive whole number.*, got 0"),
        ({"vocab_size": 0}, "the model needs a vocab_size of at least 1, got 0"),
        ({"d_ff": 2.5}, "d_ff must be a positive whole number.*, got 2.5"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"activation": "swish"}, "unknown activation 'swish'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        GPT(**SMALL | settings)


def test_a_config_file_that_lacks_a_key_is_refused():
    keys = GPTConfig(**SMALL).to_disk()
    del keys["n_head"], keys["n_embd"]
    with pytest.raises(InputError, match=r"config\.json lacks n_embd, n_head"):
        GPTConfig.from_disk(keys)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((1, 8), int), "a sequence of 8 tokens does not fit max_seq_len=7"),
        ([[3, 11]], "token ids run from 3 to 11, but the vocabulary has 11 tokens"),
        ([1, 2], r"tokens must be integers with axes \[B T\]"),
        ([[]], r"tokens must be integers with axes \[B T\]"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        GPT(**SMALL)(tokens)
