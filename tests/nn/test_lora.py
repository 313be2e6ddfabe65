import numpy as np
import pytest

from numformer import InputError, Llama, gradients, nn
from numformer.nn.lora import LoRALinear, add_lora, lora_layers, merge_lora

SMALL = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "num_layers": 2, "max_seq_len": 12}
NAMES = ["layers.0.self_attn.q_proj", "layers.1.self_attn.v_proj"]


@pytest.fixture
def tokens():
    return np.random.default_rng(0).integers(0, 11, (2, 5))


def randomised(model, seed=1):
    """Give the second factors, which begin at 0, other values."""
    rng = np.random.default_rng(seed)
    for _, layer in lora_layers(model):
        layer.lora_B.data[...] = rng.standard_normal(layer.lora_B.shape)
    return model


def test_a_layer_adds_the_scaled_product_of_its_thin_matrices():
    rng = np.random.default_rng(0)
    base = nn.Linear(6, 4)
    layer = LoRALinear(base, rank=2, scale=3.0)
    layer.lora_B.data[...] = rng.standard_normal((4, 2))
    x = rng.standard_normal((5, 6), dtype=np.float32)
    delta = 3.0 * layer.lora_B.data @ layer.lora_A.data
    np.testing.assert_allclose(layer(x).data, x @ (base.weight.data + delta).T + base.bias.data, atol=1e-5)


def test_a_new_adapter_changes_nothing(tokens):
    model = Llama(**SMALL)
    before = model(tokens).data
    add_lora(model, NAMES, rank=2, scale=2.0)
    np.testing.assert_array_equal(model(tokens).data, before)


def test_only_the_adapters_are_trained(tokens):
    model = Llama(**SMALL)
    add_lora(model, NAMES, rank=2, scale=2.0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{name}.{part}" for name in NAMES for part in ("lora_A", "lora_B")}
    model(tokens).sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained


def test_every_gradient_of_an_adapter_agrees_with_central_differences(tokens):
    model = Llama(**SMALL)
    add_lora(model, NAMES, rank=2, scale=2.0)
    randomised(model).astype(np.float64)
    adapters = [p for p in model.parameters() if p.requires_grad]
    weights = np.random.default_rng(3).standard_normal((2, 5, 11))
    found = gradients((model(tokens) * weights).sum(), adapters)
    for parameter, grad in zip(adapters, found, strict=True):
        at = (0, 1)
        values = []
        for step in (1e-6, -1e-6):
            parameter.data[at] += step
            parameter.mark_changed()
            values.append((model(tokens) * weights).sum().item())
            parameter.data[at] -= step
        assert grad[at] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_merged_weights_give_the_same_logits_and_plain_layers(tokens):
    model = Llama(**SMALL)
    names = [name for name, _ in model.named_parameters()]
    add_lora(model, NAMES, rank=2, scale=2.0, dropout=0.5)
    before = randomised(model).eval()(tokens).data
    merge_lora(model)
    np.testing.assert_allclose(model(tokens).data, before, atol=1e-5)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_merging_leaves_the_arrays_of_the_base_as_they_were():
    model = Llama(**SMALL)
    weight = model.layers[0].self_attn.q_proj.weight.data
    before = weight.copy()
    add_lora(model, NAMES, rank=2, scale=2.0)
    merge_lora(randomised(model))
    np.testing.assert_array_equal(weight, before)


def test_dropout_acts_on_the_adapter_alone_and_in_training_alone(tokens):
    model = Llama(**SMALL)
    add_lora(model, NAMES, rank=2, scale=2.0, dropout=0.5)
    without = model.eval()(tokens).data
    np.testing.assert_array_equal(model.train()(tokens).data, without)  # the second factor is 0
    randomised(model)
    assert not np.array_equal(model.train()(tokens).data, model.eval()(tokens).data)


def test_a_seed_decides_the_first_factors():
    first, second, other = (Llama(**SMALL) for _ in range(3))
    for model, seed in ((first, 1), (second, 1), (other, 2)):
        add_lora(model, NAMES, rank=2, scale=2.0, seed=seed)
    factors = [dict(model.named_parameters())[f"{NAMES[0]}.lora_A"].data for model in (first, second, other)]
    np.testing.assert_array_equal(factors[0], factors[1])
    assert not np.array_equal(factors[0], factors[2])
    assert np.abs(factors[0]).max() <= 1 / np.sqrt(8)


def test_a_name_that_is_no_linear_layer_is_refused():
    with pytest.raises(InputError, match=r"layers\.0\.residual1\.norm is no linear layer of Llama"):
        add_lora(Llama(**SMALL), ["layers.0.residual1.norm"], rank=2, scale=2.0)


def test_a_second_adapter_on_one_layer_is_refused():
    model = Llama(**SMALL)
    add_lora(model, NAMES[:1], rank=2, scale=2.0)
    with pytest.raises(InputError, match=r"q_proj has an adapter already"):
        add_lora(model, NAMES[:1], rank=2, scale=2.0)
