import numpy as np
import pytest

from numformer import Tensor, nn, random
from numformer.testing import check_gradients

D = 8
both_norms = pytest.mark.parametrize("pre_norm", [True, False], ids=["pre-norm", "post-norm"])
with_and_without_dropout = pytest.mark.parametrize("dropout", [0.0, 0.3])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def make(randomise, kind, pre_norm=True, dropout=0.0):
    return randomise(kind(D, 2, 12, dropout, pre_norm=pre_norm, activation="gelu"))


def causal_with_padding(num_real, length):
    return np.arange(length)[None, :] < np.array(num_real)[:, None, None]  # [B 1 S] for rows [B T S]


@both_norms
@with_and_without_dropout
def test_encoder_layer_gradients(pre_norm, dropout, randomise):
    layer = make(randomise, nn.EncoderLayer, pre_norm, dropout)
    mask = np.random.default_rng(2).random((2, 5, 5)) < 0.7

    def call(x):
        with random.use(random.Stream(1)):
            return layer(x, mask)

    check_gradients(call, draw(2, 5, D), parameters=list(layer.parameters()), tolerance=1e-5)


@both_norms
@with_and_without_dropout
def test_decoder_layer_gradients(pre_norm, dropout, randomise):
    layer = make(randomise, nn.DecoderLayer, pre_norm, dropout)
    memory_mask = causal_with_padding([3, 6], 6)

    def call(x, memory):
        with random.use(random.Stream(1)):
            return layer(x, memory, memory_mask)

    check_gradients(call, draw(2, 5, D), draw(2, 6, D, seed=1), parameters=list(layer.parameters()), tolerance=1e-5)


@both_norms
def test_decoder_backward_returns_the_gradients_of_both_inputs(pre_norm, randomise):
    layer = make(randomise, nn.DecoderLayer, pre_norm)
    x, memory, dy = draw(2, 5, D), draw(2, 6, D, seed=1), draw(2, 5, D, seed=2)
    layer(x, memory)
    dx, dmemory = layer.backward(dy)
    leaves = Tensor(x, requires_grad=True), Tensor(memory, requires_grad=True)
    (layer(*leaves) * dy).sum().backward()
    np.testing.assert_allclose(dx, leaves[0].grad)
    np.testing.assert_allclose(dmemory, leaves[1].grad)


@both_norms
def test_the_norm_stands_before_or_after_each_part(pre_norm, randomise):
    layer, x = make(randomise, nn.EncoderLayer, pre_norm), draw(2, 5, D)
    parts = ((layer.residual1, lambda y: layer.self_attn(y)[0]), (layer.residual2, layer.feed_forward))
    for residual, part in parts:
        x = x + part(residual.norm(x)).data if pre_norm else residual.norm(x + part(x).data).data
    np.testing.assert_allclose(layer(draw(2, 5, D)).data, x)


@both_norms
def test_padding_never_changes_what_the_encoder_says_about_real_tokens(pre_norm, randomise):
    layer, x = make(randomise, nn.EncoderLayer, pre_norm), draw(2, 6, D)
    out = layer(x, causal_with_padding([4, 6], 6)).data
    np.testing.assert_allclose(out[0, :4], layer(x[:1, :4]).data[0], atol=1e-12)
    np.testing.assert_allclose(out[1], layer(x[1:]).data[0], atol=1e-12)


@both_norms
def test_padding_in_the_memory_never_changes_the_decoder(pre_norm, randomise):
    layer, x, memory, dy = (
        make(randomise, nn.DecoderLayer, pre_norm),
        draw(2, 5, D),
        draw(2, 6, D, seed=1),
        draw(2, 5, D),
    )
    memory[0, 4:] = 1e6
    out = layer(x, memory, causal_with_padding([4, 6], 6)).data
    _, dmemory = layer.backward(dy)
    np.testing.assert_allclose(out[:1], layer(x[:1], memory[:1, :4]).data, atol=1e-12)
    _, alone = layer.backward(dy[:1])
    np.testing.assert_allclose(dmemory[:1, :4], alone, atol=1e-12)
    assert not dmemory[0, 4:].any()


@both_norms
def test_what_comes_later_changes_no_earlier_bit_of_the_decoder(pre_norm):
    layer = nn.DecoderLayer(D, 2, 12, pre_norm=pre_norm)
    x, memory = draw(2, 6, D).astype(np.float32), draw(2, 4, D, seed=1).astype(np.float32)
    before = layer(x, memory).data
    x[:, 3] *= -1.0
    after = layer(x, memory).data
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (abs(before[:, 3:] - after[:, 3:]).max(axis=-1) > 1e-3).all()


def test_the_encoder_sees_both_ways_and_the_decoder_all_of_the_memory(randomise):
    encoder, decoder = make(randomise, nn.EncoderLayer), make(randomise, nn.DecoderLayer)
    x, changed = draw(1, 4, D), draw(1, 4, D)
    changed[:, 3] *= -1.0
    for before, after in ((encoder(x), encoder(changed)), (decoder(x, x), decoder(x, changed))):
        assert (abs(before.data - after.data).max(axis=-1) > 1e-3).all()


@both_norms
def test_parallel_parts_read_the_same_stream(pre_norm, randomise):
    layer, x = make(randomise, nn.EncoderLayer, pre_norm), draw(2, 5, D)
    layer.is_parallel = True
    if pre_norm:
        attended = layer.self_attn(layer.residual1.norm(x))[0].data
        expected = x + attended + layer.feed_forward(layer.residual2.norm(x)).data
    else:
        attended = layer.residual1.norm(x + layer.self_attn(x)[0].data).data
        expected = layer.residual2.norm(attended + layer.feed_forward(x).data).data
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-12)
    check_gradients(layer, x, parameters=list(layer.parameters()), tolerance=1e-5)
