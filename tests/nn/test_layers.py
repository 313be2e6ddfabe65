import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, nn, random
from numformer.testing import check_gradients

D = 8
LAYERS = {
    "Linear": lambda: nn.Linear(D, 5),
    "Linear without bias": lambda: nn.Linear(D, 5, bias=False),
    "LayerNorm": lambda: nn.LayerNorm(D),
    "RMSNorm": lambda: nn.RMSNorm(D),
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "GELU exact": lambda: nn.GELU("none"),
    "SiLU": nn.SiLU,
    "Dropout": lambda: nn.Dropout(0.4),
    "PositionalEncoding": lambda: nn.PositionalEncoding(D, 10, dropout=0.3),
    "LearnedPositions": lambda: nn.LearnedPositions(10, D),
    "FeedForward": lambda: nn.FeedForward(D, 12, dropout=0.3, activation="gelu"),
    "MultiHeadAttention": lambda: nn.MultiHeadAttention(D, 4, dropout=0.3),
    "MultiHeadAttention grouped": lambda: nn.MultiHeadAttention(D, 4, num_kv_heads=2, bias=False),
    "EncoderLayer pre-norm": lambda: nn.EncoderLayer(D, 2, 12, dropout=0.3, activation="silu"),
    "EncoderLayer post-norm": lambda: nn.EncoderLayer(D, 2, 12, dropout=0.3, pre_norm=False),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def replayed(layer):
    """Call the layer with the same random numbers every time."""

    def call(*inputs):
        with random.use(random.Stream(3)):
            return layer(*inputs)

    return call


@every_layer
def test_all_gradients_agree_with_central_differences(make, randomise):
    layer = randomise(make())
    check_gradients(replayed(layer), draw(2, 5, D), parameters=list(layer.parameters()))


@every_layer
def test_backward_returns_what_the_tape_finds(make, randomise):
    layer, x = randomise(make()), draw(2, 5, D)
    leaf, parameters = Tensor(x, requires_grad=True), list(layer.parameters())
    y = replayed(layer)(leaf)
    dy = draw(*y.shape, seed=1)
    dx, *expected = gradients(y, [leaf, *parameters], dy)
    replayed(layer)(x)
    np.testing.assert_array_equal(layer.backward(dy), dx)
    for parameter, grad in zip(parameters, expected, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


@every_layer
def test_float32_stays_float32(make):
    layer = make()
    y = layer(draw(2, 5, D))  # if there are parameters, an array takes their dtype
    if not layer.num_parameters():
        y = layer(draw(2, 5, D).astype(np.float32))
    dx = layer.backward(np.ones(y.shape))
    assert {y.dtype, dx.dtype, *(p.grad.dtype for p in layer.parameters())} == {np.dtype(np.float32)}


@every_layer
def test_evaluation_is_the_same_every_time(make):
    layer, x = make().eval(), draw(2, 5, D).astype(np.float32)
    np.testing.assert_array_equal(layer(x).data, layer(x).data)


@pytest.mark.parametrize(
    "name", ["Dropout", "PositionalEncoding", "FeedForward", "MultiHeadAttention", "EncoderLayer pre-norm"]
)
def test_training_drops_and_evaluation_does_not(name):
    layer, x = LAYERS[name](), draw(2, 5, D).astype(np.float32)
    assert (layer(x).data != layer(x).data).any()
    layer.eval()
    settled = layer(x).data
    np.testing.assert_array_equal(layer(x).data, settled)
    dropless = [module for _, module in layer.named_modules() if isinstance(module, nn.Dropout)]
    for module in dropless:
        module.p = 0.0
    np.testing.assert_array_equal(layer.train()(x).data, settled)


# Dropout and its random numbers


def test_every_call_of_dropout_draws_another_mask():
    layer, x = nn.Dropout(0.5), np.ones(1000, np.float32)
    assert 0.4 < (layer(x).data == layer(x).data).mean() < 0.6


def test_reseeding_starts_the_masks_again():
    layer, x = nn.Dropout(0.5), np.ones(100, np.float32)
    runs = []
    for seed in (1, 1, 2):
        layer.reseed(seed)
        runs.append([layer(x).data for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (np.array(runs[0]) != np.array(runs[2])).any()


def test_a_stream_decides_the_masks_whatever_the_layer_drew_before():
    layer, x = nn.Dropout(0.5), np.ones(100, np.float32)
    results = []
    for _ in range(2):
        layer(x)
        with random.use(random.Stream(1, 2)):
            results.append([layer(x).data, layer(x).data])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0][0] != results[0][1]).any()


def test_two_layers_in_one_stream_draw_different_masks():
    first, second, x = nn.Dropout(0.5), nn.Dropout(0.5), np.ones(100, np.float32)
    with random.use(random.Stream(1)):
        assert (first(x).data != second(x).data).any()


def test_two_calls_before_two_backwards_keep_their_own_masks():
    layer, x = nn.Dropout(0.5), Tensor(np.ones(100, np.float32), requires_grad=True)
    outs = [layer(x), layer(x)]
    for out in outs:
        np.testing.assert_array_equal(gradients(out, [x], np.ones(100))[0], out.data)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_dropout_refuses_other_probabilities(p):
    with pytest.raises(InputError, match="at least 0 and below 1"):
        nn.Dropout(p)


# Embedding and positions


def test_the_padding_row_is_zero_and_stays_zero():
    layer = nn.Embedding(6, 3, padding_id=2)
    y = layer(np.array([[2, 1, 2]]))
    assert not y.data[0, [0, 2]].any()
    y.sum().backward()
    assert not layer.weight.grad[2].any()
    assert layer.weight.grad[1].all()


def test_embedding_backward_sums_repeated_tokens():
    layer = nn.Embedding(6, 3)
    layer(np.array([[1, 1, 1], [1, 1, 4]]))
    assert layer.backward(np.ones((2, 3, 3))) is None
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [0, 5, 0, 0, 1, 0])


@pytest.mark.parametrize("make", [lambda: nn.PositionalEncoding(D, 4), lambda: nn.LearnedPositions(4, D)])
def test_sequences_over_the_limit_are_refused(make):
    layer = make()
    layer(draw(1, 4, D))
    with pytest.raises(InputError, match="a sequence of 5 positions does not fit max_seq_len=4"):
        layer(draw(1, 5, D))


def test_positional_encoding_adds_the_sinusoidal_table():
    x = draw(2, 3, D).astype(np.float32)
    y = nn.PositionalEncoding(D, 10)(x).data - x
    np.testing.assert_allclose(y[0, :, 0], np.sin(np.arange(3)), atol=1e-6)
    np.testing.assert_allclose(y[1, :, 1], np.cos(np.arange(3)), atol=1e-6)


# The others


def test_a_linear_layer_is_x_times_weight_transposed_plus_bias(randomise):
    layer, x = randomise(nn.Linear(D, 5)), draw(2, 3, D)
    assert layer.weight.shape == (5, D)
    np.testing.assert_allclose(layer(x).data, x @ layer.weight.data.T + layer.bias.data)


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh", "silu"])
def test_feed_forward_widens_activates_and_narrows(name, randomise):
    layer, x = randomise(nn.FeedForward(D, 12, activation=name)), draw(2, 3, D)
    hidden = x @ layer.linear1.weight.data.T + layer.linear1.bias.data
    activated = nn.layers.make_activation(name)(hidden).data
    np.testing.assert_allclose(layer(x).data, activated @ layer.linear2.weight.data.T + layer.linear2.bias.data)


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="unknown activation 'swish': choose one of relu, gelu, gelu_tanh, silu"):
        nn.FeedForward(D, 12, activation="swish")


def test_the_loss_layer_passes_its_settings_on():
    logits, targets = draw(4, 7), np.array([1, 2, 3, 3])
    loss = nn.CrossEntropyLoss(ignore_index=3, reduction="sum", label_smoothing=0.1)
    expected = nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)(logits[:2], targets[:2])
    assert loss(logits, targets).item() == pytest.approx(expected.item())
