import json
import math

import numpy as np
import pytest

from numformer import CrossEntropyLoss, InputError, gradients, optim, random
from numformer.models import Bert, BertConfig, build_model
from numformer.testing import check_gradients

SMALL = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12, "max_seq_len": 7}
few_and_many = pytest.mark.parametrize("vocab_size", [11, 300])  # a table's gradient is summed in two ways


def draw_tokens(*shape, seed=0, below=11):
    return np.random.default_rng(seed).integers(1, below, shape)


def make(randomise, **settings):
    return randomise(Bert(BertConfig(**SMALL | {"dropout": 0.0} | settings)))


def make_mlm(**settings):
    return build_model(BertConfig(**SMALL | settings), "mlm")


def mask_of(lengths, longest):
    return np.arange(longest) < np.array(lengths)[:, None]


def loss_of(model, tokens, targets, mask=None):
    logits = model(tokens, mask)
    return CrossEntropyLoss()(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


# Against differences


@few_and_many
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_every_gradient_of_the_masked_language_model(vocab_size, dropout, randomise):
    model = randomise(make_mlm(vocab_size=vocab_size, dropout=dropout))
    tokens, targets, mask = draw_tokens(3, 6), draw_tokens(3, 6, seed=1), mask_of([6, 3, 5], 6)
    tokens[0, :3] = tokens[1, 1] = tokens[2, 4] = 7
    targets[~mask] = targets[0, 1] = -100

    def loss():
        with random.use(random.Stream(1, 2)):
            return loss_of(model, tokens, targets, mask)

    check_gradients(loss, parameters=list(model.parameters()), tolerance=1e-5)


def test_every_gradient_with_segments(randomise):
    model, tokens = make(randomise), draw_tokens(2, 6)
    segments = np.array([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]])
    check_gradients(lambda: model(tokens, None, segments), parameters=list(model.parameters()), tolerance=1e-5)


@few_and_many
def test_every_gradient_with_several_features_a_word(vocab_size, randomise):
    model, features, mask = make(randomise, vocab_size=vocab_size), draw_tokens(2, 5, 3), mask_of([5, 3], 5)
    features[0, :3, 0] = features[1, 2, 1:] = 4  # one id five times, twice in one word
    features[0, 3:, 2] = features[~mask] = 0
    check_gradients(lambda: model(features, mask), parameters=list(model.parameters()), tolerance=1e-5)


# What it computes


def test_the_embedding_is_the_normalised_sum_of_token_position_and_segment(randomise):
    part, tokens, segments = make(randomise).embeddings, draw_tokens(2, 5), draw_tokens(2, 5, below=3) - 1
    tables = part.token_embedding, part.position_embedding, part.segment_embedding
    words, positions, kinds = (table.weight.data for table in tables)
    x = words[tokens] + positions[:5] + kinds[segments]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    expected = x * part.norm.weight.data + part.norm.bias.data
    np.testing.assert_allclose(part(tokens, segments).data, expected, atol=1e-12)


def test_without_segments_all_is_the_first(randomise):
    model, tokens = make(randomise), draw_tokens(2, 5)
    np.testing.assert_allclose(model(tokens).data, model(tokens, None, np.zeros((2, 5), int)).data, atol=1e-12)
    assert abs(model(tokens).data - model(tokens, None, np.ones((2, 5), int)).data).max() > 1e-3


@few_and_many
def test_the_vector_of_a_word_is_the_sum_of_its_features(vocab_size, randomise):
    model, features = make(randomise, vocab_size=vocab_size), draw_tokens(2, 5, 3)
    features[0, 1] = [4, 4, 4]
    found = model.embeddings(features).data
    words = model.embeddings.token_embedding.weight
    words.data = np.concatenate([words.data[features].sum(axis=2).reshape(10, 8), words.data[:1]])
    np.testing.assert_allclose(model.embeddings(np.arange(10).reshape(2, 5)).data, found, atol=1e-12)


def test_padding_among_the_features_is_no_feature(randomise):
    model, features = make(randomise, pad_id=9), draw_tokens(2, 5, 2, below=9)
    more = np.concatenate([features, np.full((2, 5, 1), 9)], axis=-1)
    np.testing.assert_array_equal(model(features).data, model(more).data)
    (grad,) = gradients((model(more) * model(features).data).sum(), [model.embeddings.token_embedding.weight])
    assert not grad[9].any()
    assert grad[features].any()


def test_one_feature_a_word_is_the_same_as_tokens(randomise):
    model, tokens = make(randomise), draw_tokens(2, 5)
    np.testing.assert_allclose(model(tokens[..., None]).data, model(tokens).data, atol=1e-12)


@pytest.mark.parametrize("features", [(), (3,)], ids=["tokens", "features"])
def test_padding_never_changes_what_is_said_about_real_tokens(features, randomise):
    model, lengths = make(randomise), [6, 3, 4]
    tokens, mask = draw_tokens(3, 6, *features), mask_of(lengths, 6)
    together = model(tokens, mask).data
    for row, length in enumerate(lengths):
        alone = model(tokens[row : row + 1, :length]).data[0]
        np.testing.assert_allclose(together[row, :length], alone, atol=1e-12)


def test_every_position_sees_every_other(randomise):
    model, tokens = make(randomise), draw_tokens(1, 5)
    before = model(tokens).data
    for t in range(5):
        changed = tokens.copy()
        changed[0, t] = tokens[0, t] % 10 + 1
        assert (abs(model(changed).data - before).max(axis=-1) > 1e-3).all()


def test_the_order_of_tokens_matters(randomise):
    model = make(randomise)
    assert abs(model([[1, 2, 3]]).data[:, -1] - model([[2, 1, 3]]).data[:, -1]).max() > 1e-3


def test_the_output_layer_of_the_masked_language_model_is_the_embedding(randomise):
    model, tokens = randomise(make_mlm(dropout=0.0)), draw_tokens(1, 4)
    table = model.backbone.embeddings.token_embedding.weight
    before = model(tokens).data
    table.data[0] *= 2.0  # a token that the text does not hold
    bias = model.head.bias.data[0]
    np.testing.assert_allclose(model(tokens).data[..., 0] - bias, 2.0 * (before[..., 0] - bias))


def test_dropout_acts_in_training_only():
    model, tokens = make_mlm(dropout=0.3), draw_tokens(2, 6)
    assert (model(tokens).data != model(tokens).data).any()
    model.eval()
    np.testing.assert_array_equal(model(tokens).data, model(tokens).data)


# Seeds and initial weights


def test_the_same_seed_gives_the_same_weights_and_dropout():
    config = BertConfig(**SMALL, dropout=0.3)
    first, again, other = (build_model(config, "mlm", seed=seed) for seed in (1, 1, 2))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert name.endswith(("bias", "norm.weight")) or (a.data != c.data).any()
    np.testing.assert_array_equal(first(draw_tokens(2, 6)).data, again(draw_tokens(2, 6)).data)


def test_initial_weights_follow_glorot_and_embeddings_are_small():
    model = build_model(BertConfig(vocab_size=65, d_model=64), "mlm")
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.data.any()
        elif "norm" in name:
            assert (parameter.data == 1.0).all()
        else:
            expected = 0.02 if "embeddings" in name else math.sqrt(2.0 / sum(parameter.shape))
            assert parameter.data.std() == pytest.approx(expected, rel=0.2), name


def test_it_learns_to_fill_a_gap():
    model = build_model(BertConfig(vocab_size=12, d_model=32, num_layers=1, d_ff=64, max_seq_len=6, dropout=0.0), "mlm")
    optimizer, tokens = optim.AdamW(model.parameters(), lr=1e-2), np.arange(6) + np.arange(1, 6)[:, None]
    masked, targets = tokens.copy(), np.full_like(tokens, -100)
    masked[:, 2], targets[:, 2] = 11, tokens[:, 2]
    losses = []
    for _ in range(40):
        loss = loss_of(model, masked, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(12), abs=0.3)
    assert losses[-1] < 0.3


# Configs and wrong input


def test_the_config_survives_the_way_to_disk_and_back():
    config = BertConfig(**SMALL, dropout=0.2, activation="gelu_tanh", layer_norm_eps=1e-12, pad_id=3)
    assert BertConfig.from_disk(json.loads(json.dumps(config.to_disk()))) == config
    assert BertConfig(vocab_size=5, d_model=8, num_heads=2).to_disk()["intermediate_size"] == 32


@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "max_position_embeddings", "intermediate_size"])
def test_a_config_file_that_lacks_a_key_is_refused(key):
    keys = BertConfig(**SMALL).to_disk()
    del keys[key]
    with pytest.raises(InputError, match=rf"config\.json lacks {key}"):
        BertConfig.from_disk(keys)


@pytest.mark.parametrize(("key", "value"), [("position_embedding_type", "relative_key")])
def test_other_kinds_of_bert_are_refused(key, value):
    with pytest.raises(InputError, match=f"{key}={value!r} is not supported"):
        BertConfig.from_disk(BertConfig(**SMALL).to_disk() | {key: value})


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.ones((1, 8), int), "a sequence of 8 tokens does not fit max_seq_len=7"),
        (np.ones((1, 8, 2), int), "a sequence of 8 tokens does not fit max_seq_len=7"),
        ([[3, 11]], "token ids run from 3 to 11, but the vocabulary has 11 tokens"),
        ([[[3, 11]]], "token ids run from 3 to 11, but the vocabulary has 11 tokens"),
        ([[-1, 2]], "token ids run from -1 to 2"),
        ([1, 2], r"tokens must be integers with axes \[B T\]"),
        ([[0.5]], r"tokens must be integers with axes \[B T\]"),
        ([[]], r"tokens must be integers with axes \[B T\]"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        make_mlm()(tokens)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((1, 4)), "S is 3 in k but 4 in mask"),
        (np.ones(3), r"a padding mask has axes \[B S\], got shape \(3,\)"),
        ([[0.0, -1e9, 0.0]], r"True \(or 1\) where a query may attend"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, message):
    with pytest.raises(InputError, match=message):
        make_mlm()([[1, 2, 3]], mask)


def test_a_seed_decides_weights_and_dropout():
    config = BertConfig(**SMALL | {"dropout": 0.5})
    tokens = np.ones((1, 4), int)
    one, same, other = (Bert(config, seed=seed)(tokens).data for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_logits_of_some_positions_are_those_of_all_and_so_are_the_gradients():
    model = build_model(BertConfig(**SMALL | {"dropout": 0.0}), "mlm")
    tokens, where = np.arange(12).reshape(3, 4) % 5 + 1, np.arange(12).reshape(3, 4) % 3 == 1
    some, every = model(tokens, where=where), model(tokens)
    np.testing.assert_allclose(some.data, every.data[where], rtol=1e-5, atol=1e-6)
    parameters = list(model.parameters())
    weights = np.random.default_rng(0).standard_normal(some.shape).astype(np.float32)
    spread = np.zeros(every.shape, np.float32)
    spread[where] = weights
    found, expected = gradients((some * weights).sum(), parameters), gradients((every * spread).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
