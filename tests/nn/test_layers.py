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
    "LeakyReLU": lambda: nn.LeakyReLU(0.3),
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "Softmax": nn.Softmax,
    "Softmax over time": lambda: nn.Softmax(dim=1),
    "Identity": nn.Identity,
    "Flatten": nn.Flatten,
    "Dropout": lambda: nn.Dropout(0.4),
    "PositionalEncoding": lambda: nn.PositionalEncoding(D, 10, dropout=0.3),
    "LearnedPositions": lambda: nn.LearnedPositions(10, D),
    "FeedForward": lambda: nn.FeedForward(D, 12, dropout=0.3, activation="gelu"),
    "MultiHeadAttention": lambda: nn.MultiHeadAttention(D, 4, dropout=0.3),
    "MultiHeadAttention grouped": lambda: nn.MultiHeadAttention(D, 4, num_kv_heads=2, bias=False),
    "MultiHeadAttention rotary": lambda: nn.MultiHeadAttention(D, 2, num_kv_heads=1, head_dim=6, rope_theta=100.0),
    "FusedAttention": lambda: nn.FusedAttention(D, 2, dropout=0.3),
    "FeedForward gated": lambda: nn.FeedForward(D, 12, dropout=None, activation="silu", gated=True, bias=False),
    "EncoderLayer pre-norm": lambda: nn.EncoderLayer(D, 2, 12, dropout=0.3, activation="silu"),
    "EncoderLayer post-norm": lambda: nn.EncoderLayer(D, 2, 12, dropout=0.3, pre_norm=False),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def output(layer, x):
    """Return what a layer makes of x; attention answers with its weights besides."""
    y = layer(x)
    return y[0] if isinstance(y, tuple) else y


def replayed(layer):
    """Call the layer with the same random numbers every time."""

    def call(x):
        with random.use(random.Stream(3)):
            return output(layer, x)

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
    y = output(layer, draw(2, 5, D))  # if there are parameters, an array takes their dtype
    if not layer.num_parameters():
        y = output(layer, draw(2, 5, D).astype(np.float32))
    dx = layer.backward(np.ones(y.shape))
    assert {y.dtype, dx.dtype, *(p.grad.dtype for p in layer.parameters())} == {np.dtype(np.float32)}


@every_layer
def test_evaluation_is_the_same_every_time(make):
    layer, x = make().eval(), draw(2, 5, D).astype(np.float32)
    np.testing.assert_array_equal(output(layer, x).data, output(layer, x).data)


@pytest.mark.parametrize(
    "name", ["Dropout", "PositionalEncoding", "FeedForward", "MultiHeadAttention", "EncoderLayer pre-norm"]
)
def test_training_drops_and_evaluation_does_not(name):
    layer, x = LAYERS[name](), draw(2, 5, D).astype(np.float32)
    assert (output(layer, x).data != output(layer, x).data).any()
    layer.eval()
    settled = output(layer, x).data
    np.testing.assert_array_equal(output(layer, x).data, settled)
    dropless = [module for _, module in layer.named_modules() if isinstance(module, nn.Dropout)]
    for module in dropless:
        module.p = 0.0
    np.testing.assert_array_equal(output(layer.train(), x).data, settled)


# Embedding


def test_the_padding_row_is_zero_and_stays_zero():
    layer = nn.Embedding(6, 3, padding_id=2)
    y = layer(np.array([[2, 1, 2]]))
    assert not y.data[0, [0, 2]].any()
    y.sum().backward()
    assert not layer.weight.grad[2].any()
    assert layer.weight.grad[1].all()


def test_a_scaled_embedding_is_multiplied_by_the_root_of_its_width():
    plain, scaled = nn.Embedding(6, 16), nn.Embedding(6, 16, scaled=True)
    scaled.load_state_dict(plain.state_dict())
    ids = np.array([[3, 1, 3]])
    np.testing.assert_allclose(scaled(ids).data, 4.0 * plain(ids).data, rtol=1e-6)
    scaled.backward(np.ones((1, 3, 16)))
    np.testing.assert_array_equal(scaled.weight.grad[:, 0], [0, 4, 0, 8, 0, 0])


def test_embedding_backward_sums_repeated_tokens():
    layer = nn.Embedding(6, 3)
    layer(np.array([[1, 1, 1], [1, 1, 4]]))
    assert layer.backward(np.ones((2, 3, 3))) is None
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [0, 5, 0, 0, 1, 0])


# The others


def test_a_linear_layer_is_x_times_weight_transposed_plus_bias(randomise):
    layer, x = randomise(nn.Linear(D, 5)), draw(2, 3, D)
    assert layer.weight.shape == (5, D)
    np.testing.assert_allclose(layer(x).data, x @ layer.weight.data.T + layer.bias.data)


def test_a_linear_layer_is_drawn_by_the_rule_and_the_generator_that_it_is_given():
    first, second = (nn.Linear(300, 200, std=0.1, generator=random.generator(1)) for _ in range(2))
    np.testing.assert_array_equal(first.weight.data, second.weight.data)
    assert first.weight.data.std() == pytest.approx(0.1, rel=0.02)
    assert abs(nn.Linear(300, 200).weight.data).max() == pytest.approx(np.sqrt(6 / 500), rel=0.01)  # Glorot's bound
    assert not first.bias.data.any()


@pytest.mark.parametrize("make", [nn.LayerNorm, nn.RMSNorm])
def test_normalisations_add_the_given_number_to_the_variance(make):
    x = np.array([[1e-3, -1e-3]], np.float32)
    np.testing.assert_allclose(make(2, eps=1e-6)(x).data, [[0.5**0.5, -(0.5**0.5)]], rtol=1e-5)
    assert abs(make(2, eps=0.0)(x).data) == pytest.approx(1.0)


def test_an_embedding_is_drawn_by_the_generator_and_spread_that_it_is_given():
    first, second = (nn.Embedding(300, 200, std=0.1, generator=random.generator(1)) for _ in range(2))
    np.testing.assert_array_equal(first.weight.data, second.weight.data)
    assert first.weight.data.std() == pytest.approx(0.1, rel=0.02)
    assert nn.Embedding(300, 200).weight.data.std() == pytest.approx(0.02, rel=0.02)


def test_an_identity_returns_its_input():
    x = Tensor(draw(2, 3))
    assert nn.Identity()(x).data is x.data


def test_flatten_leaves_the_batch():
    x = draw(2, 3, 4)
    np.testing.assert_array_equal(nn.Flatten()(x).data, x.reshape(2, 12))
    np.testing.assert_array_equal(nn.Flatten(0, 1)(x).data, x.reshape(6, 4))


def test_a_softmax_over_another_axis_adds_up_to_one_there():
    np.testing.assert_allclose(nn.Softmax(1)(draw(2, 3, 4)).data.sum(1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda size: nn.Linear(size, 4), "in_features"),
        (lambda size: nn.Linear(4, size), "out_features"),
        (lambda size: nn.Embedding(size, 4), "vocab_size"),
        (lambda size: nn.Embedding(4, size), "d_model"),
        (lambda size: nn.LayerNorm(size), "d_model"),
        (lambda size: nn.RMSNorm(size), "d_model"),
        (lambda size: nn.FeedForward(8, size), "d_ff"),
        (lambda size: nn.PositionalEncoding(8, size), "max_seq_len"),
        (lambda size: nn.LearnedPositions(size, 8), "max_seq_len"),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("size", [0, -1, 2.5, "4", None])
def test_a_layer_without_numbers_is_refused(make, message, size):
    with pytest.raises(InputError, match=f"{message} must be a whole number of at least 1, got {size!r}"):
        make(size)


def test_sizes_may_be_whole_numbers_of_numpy():
    assert nn.Linear(np.int64(3), np.int32(2)).weight.shape == (2, 3)


def test_layers_take_the_words_of_pytorch():
    layer = nn.Embedding(num_embeddings=5, embedding_dim=3, padding_idx=0)
    assert (layer.weight.shape, layer.padding_id) == ((5, 3), 0)
    assert nn.LayerNorm(normalized_shape=4).weight.shape == (4,)
    assert nn.MultiHeadAttention(embed_dim=8, num_heads=2).out_proj.weight.shape == (8, 8)
