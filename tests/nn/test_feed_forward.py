import numpy as np

from numformer import nn
from numformer.nn.dropout import set_dropout

D = 8


def test_the_gate_multiplies_what_was_activated(randomise):
    layer, x = randomise(nn.FeedForward(D, 12, activation="relu", gated=True)), np.ones((1, 2, D))
    parts = [x @ part.weight.data.T + part.bias.data for part in (layer.linear1, layer.linear3)]
    expected = (np.maximum(parts[0], 0.0) * parts[1]) @ layer.linear2.weight.data.T + layer.linear2.bias.data
    np.testing.assert_allclose(layer(x).data, expected)


def test_without_bias_there_is_none():
    names = [name for name, _ in nn.FeedForward(D, 12, gated=True, bias=False).named_parameters()]
    assert names == ["linear1.weight", "linear2.weight", "linear3.weight"]


def test_no_dropout_is_switched_on_where_there_is_none():
    x = np.ones((2, 3, D), np.float32)
    never, later = nn.FeedForward(D, 12, dropout=None), nn.FeedForward(D, 12, dropout=0.0)
    for layer in (never, later):
        set_dropout(layer, 0.5)
    np.testing.assert_array_equal(never(x).data, never(x).data)
    assert (later(x).data != later(x).data).any()
