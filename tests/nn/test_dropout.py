import numpy as np
import pytest

import numformer as nf
from numformer import InputError, Tensor, gradients, nn, random
from numformer.nn.dropout import set_dropout
from numformer.nn.transformer import reseed_dropout


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


def test_a_probability_of_0_draws_no_mask():
    layer, x = nn.Dropout(0.0), np.ones(5, np.float32)
    assert not layer.active
    with random.record() as keys:
        layer(x)
    assert keys == []
    layer.p = 0.5
    assert layer.active
    assert not layer.eval().active


def test_the_dropouts_of_a_model_are_set_together_with_its_config():
    model = nf.GPT(vocab_size=5, d_model=8, num_heads=2, num_layers=1, dropout=0.1)
    set_dropout(model, 0.3)
    dropouts = [module for _, module in model.named_modules() if isinstance(module, nn.Dropout)]
    assert [module.p for module in dropouts] == [0.3] * len(dropouts)
    assert model.config.dropout == 0.3


def test_every_dropout_of_a_model_has_masks_of_its_own_that_follow_from_the_seed():
    model, x = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)), np.ones(100, np.float32)
    masks = []
    for seed in (1, 1, 2):
        reseed_dropout(model, seed)
        masks.append([model[0](x).data, model[1](x).data])
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0][0] != masks[0][1]).any()
    assert (masks[0][0] != masks[2][0]).any()
