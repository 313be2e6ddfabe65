import numpy as np
import pytest

from numformer import InputError, nn

D = 8


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(), [0.0, 0.0, 3.0]),
        (nn.LeakyReLU(), [-0.02, 0.0, 3.0]),
        (nn.LeakyReLU(0.5), [-1.0, 0.0, 3.0]),
        (nn.Tanh(), np.tanh([-2.0, 0.0, 3.0])),
        (nn.Sigmoid(), 1.0 / (1.0 + np.exp([2.0, 0.0, -3.0]))),
        (nn.SiLU(), np.array([-2.0, 0.0, 3.0]) / (1.0 + np.exp([2.0, 0.0, -3.0]))),
        (nn.GELU("none"), [-0.0455003, 0.0, 2.9959503]),
        (nn.GELU(), [-0.0454023, 0.0, 2.9963627]),
        (nn.Softmax(), np.exp([-2.0, 0.0, 3.0]) / np.exp([-2.0, 0.0, 3.0]).sum()),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_the_value_is_that_of_the_formula(layer, expected):
    np.testing.assert_allclose(layer(np.array([-2.0, 0.0, 3.0])).data, expected, atol=1e-6)


def test_softmax_makes_probabilities_of_every_row():
    p = nn.Softmax()(100.0 * draw(2, 5, D)).data
    np.testing.assert_allclose(p.sum(axis=-1), np.ones((2, 5)))


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh", "silu", "leaky_relu", "tanh", "sigmoid"])
def test_feed_forward_widens_activates_and_narrows(name, randomise):
    layer, x = randomise(nn.FeedForward(D, 12, activation=name)), draw(2, 3, D)
    hidden = x @ layer.linear1.weight.data.T + layer.linear1.bias.data
    activated = nn.make_activation(name)(hidden).data
    np.testing.assert_allclose(layer(x).data, activated @ layer.linear2.weight.data.T + layer.linear2.bias.data)


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match="unknown activation 'swish': choose one of relu, gelu, gelu_tanh, silu, leaky_relu"
    ):
        nn.FeedForward(D, 12, activation="swish")
