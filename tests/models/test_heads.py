import numpy as np
import pytest

from numformer import GPT, CrossEntropyLoss, InputError, gradients, nn, optim, random
from numformer.models import BertConfig, GPTConfig, SequenceClassifier, SpanClassifier, TokenClassifier, build_model
from numformer.testing import check_gradients

SMALL = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12, "max_seq_len": 7}
CONFIGS = {"bert": BertConfig, "gpt2": GPTConfig}
LENGTHS = [6, 3, 4]
MASK = np.arange(6) < np.array(LENGTHS)[:, None]
HEADS = {
    "mean": ("classification", {"labels": 4, "pooling": "mean"}),
    "first": ("classification", {"labels": 4, "pooling": "first"}),
    "tagging": ("tagging", {"labels": 4}),
    "spans": ("question_answering", {}),
}
both_backbones = pytest.mark.parametrize("kind", CONFIGS)
every_head = pytest.mark.parametrize("head", HEADS)
every_classifier = pytest.mark.parametrize("head", ["mean", "first", "tagging"])


def draw_tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 11, shape)


def make(kind, head, dropout=0.0, seed=0):
    task, settings = HEADS[head]
    return build_model(CONFIGS[kind](**SMALL, dropout=dropout), task, seed=seed, **settings)


def draw_targets(head, seed=1):
    """Labels of the three texts; -100 at padding."""
    rng = np.random.default_rng(seed)
    if head == "tagging":
        return np.where(MASK, rng.integers(0, 4, MASK.shape), -100)
    if head == "spans":
        return rng.integers(0, 3, (3, 2))
    return rng.integers(0, 4, 3)


def loss_of(logits, targets):
    return CrossEntropyLoss(reduction="sum")(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def gradients_by_name(model, loss):
    named = dict(model.named_parameters())
    return dict(zip(named, gradients(loss, list(named.values())), strict=True))


# Gradients and padding


@both_backbones
@every_head
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_every_gradient_agrees_with_central_differences(kind, head, dropout, randomise):
    model = randomise(make(kind, head, dropout))
    tokens, targets = draw_tokens(3, 6), draw_targets(head)

    def loss():
        with random.use(random.Stream(1, 2)):
            return loss_of(model(tokens, MASK), targets)

    check_gradients(loss, parameters=list(model.parameters()), tolerance=1e-5)


@both_backbones
@every_head
def test_a_padded_batch_is_each_text_alone_in_logits_loss_and_gradients(kind, head, randomise):
    model = randomise(make(kind, head))
    tokens, targets = draw_tokens(3, 6), draw_targets(head)
    together = model(tokens, MASK)
    loss = loss_of(together, targets)
    losses, sums = 0.0, {}
    for row, length in enumerate(LENGTHS):
        logits = model(tokens[row : row + 1, :length])
        real = together.data[row : row + 1]
        real = {"tagging": real[:, :length], "spans": real[..., :length]}.get(head, real)
        np.testing.assert_allclose(real, logits.data, atol=1e-12)
        alone = loss_of(logits, targets[row, :length] if head == "tagging" else targets[row])
        losses += alone.item()
        for name, grad in gradients_by_name(model, alone).items():
            sums[name] = sums.get(name, 0.0) + grad
    assert loss.item() == pytest.approx(losses, rel=1e-12)
    for name, grad in gradients_by_name(model, loss).items():
        np.testing.assert_allclose(grad, sums[name], atol=1e-11, err_msg=name)


@both_backbones
@every_head
def test_what_the_padding_holds_changes_no_bit(kind, head, randomise):
    model, tokens = randomise(make(kind, head)), draw_tokens(3, 6)
    filled = np.where(MASK, tokens, 0)
    logits, again = model(tokens, MASK).data, model(filled, MASK).data
    if head == "tagging":
        logits, again = logits[MASK], again[MASK]
    np.testing.assert_array_equal(logits, again)


@both_backbones
def test_a_token_hidden_in_the_middle_changes_no_bit_of_the_others(kind, randomise):
    model, tokens = randomise(make(kind, "tagging")), draw_tokens(1, 6)
    mask = np.arange(6) != 2
    before = model(tokens, mask[None]).data[0, mask]
    assert abs(model(tokens).data[0, mask] - before).max() > 1e-3
    tokens[0, 2] = tokens[0, 2] % 10 + 1
    np.testing.assert_array_equal(model(tokens, mask[None]).data[0, mask], before)


@both_backbones
@every_head
@pytest.mark.parametrize("form", [np.ndarray.tolist, lambda m: m.astype(int), lambda m: m.astype(np.float32)])
def test_a_mask_may_be_zeros_and_ones_in_any_form(kind, head, form):
    model, tokens = make(kind, head), draw_tokens(3, 6)
    np.testing.assert_array_equal(model(tokens, form(MASK)).data, model(tokens, MASK).data)


@both_backbones
@every_head
def test_no_mask_means_no_padding(kind, head, randomise):
    model, tokens = randomise(make(kind, head)), draw_tokens(3, 6)
    np.testing.assert_allclose(model(tokens).data, model(tokens, np.ones((3, 6), bool)).data, atol=1e-12)


# What the heads read


@both_backbones
def test_mean_pooling_averages_the_real_positions(kind, randomise):
    model, tokens = randomise(make(kind, "mean")), draw_tokens(3, 6)
    x = model.backbone.encode(tokens, MASK).data
    pooled = np.stack([row[:length].mean(axis=0) for row, length in zip(x, LENGTHS, strict=True)])
    np.testing.assert_allclose(model(tokens, MASK).data, model.head(pooled).data, atol=1e-12)


def test_first_pooling_of_bert_reads_the_first_token_through_the_pooler(randomise):
    model, tokens = randomise(make("bert", "first")), draw_tokens(3, 6)
    dense = model.backbone.pooler
    pooled = np.tanh(model.backbone(tokens, MASK).data[:, 0] @ dense.weight.data.T + dense.bias.data)
    np.testing.assert_allclose(model(tokens, MASK).data, model.head(pooled).data, atol=1e-12)


def test_first_pooling_of_a_gpt_reads_the_last_real_token(randomise):
    model, tokens = randomise(make("gpt2", "first")), draw_tokens(3, 6)
    x = model.backbone.encode(tokens, MASK).data
    np.testing.assert_allclose(model(tokens, MASK).data, model.head(x[range(3), [5, 2, 3]]).data, atol=1e-12)
    np.testing.assert_allclose(
        model(tokens).data, model.head(model.backbone.encode(tokens).data[:, -1]).data, atol=1e-12
    )


@both_backbones
@every_classifier
def test_there_is_one_output_for_every_label(kind, head):
    assert make(kind, head)(draw_tokens(3, 6)).shape == {"tagging": (3, 6, 4)}.get(head, (3, 4))


@both_backbones
def test_spans_are_scored_by_start_and_end_and_never_in_padding(kind, randomise):
    model, tokens = randomise(make(kind, "spans")), draw_tokens(3, 6)
    logits = model(tokens, MASK).data
    assert logits.shape == (3, 2, 6)
    scores = model.backbone.encode(tokens, MASK).data @ model.head.weight.data.T + model.head.bias.data
    np.testing.assert_allclose(logits.swapaxes(1, 2)[MASK], scores[MASK], atol=1e-12)
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    assert (odds.swapaxes(1, 2)[~MASK] == 0.0).all()


def test_a_gpt_tags_a_token_from_what_came_before_it(randomise):
    model, tokens = randomise(make("gpt2", "tagging")), draw_tokens(1, 6)
    before = model(tokens).data
    tokens[0, 3] = tokens[0, 3] % 10 + 1
    after = model(tokens).data
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (abs(before[:, 3:] - after[:, 3:]).max(axis=-1) > 1e-3).all()


def test_segments_reach_bert_and_a_gpt_has_none(randomise):
    tokens, segments = draw_tokens(3, 6), np.ones((3, 6), int)
    bert, gpt = (randomise(make(kind, "spans")) for kind in CONFIGS)
    assert abs(bert(tokens, MASK, segments).data - bert(tokens, MASK).data).max() > 1e-3
    np.testing.assert_array_equal(gpt(tokens, MASK, segments).data, gpt(tokens, MASK).data)


def test_bert_tags_words_given_by_several_features(randomise):
    model, features = randomise(make("bert", "tagging")), draw_tokens(3, 6, 2)
    targets = draw_targets("tagging")
    check_gradients(
        lambda: loss_of(model(features, MASK), targets), parameters=list(model.parameters()), tolerance=1e-5
    )


# Labels


@both_backbones
@every_classifier
def test_labels_are_names_or_their_number(kind, head):
    backbone = make(kind, head).backbone
    make_head = TokenClassifier if head == "tagging" else SequenceClassifier
    assert make_head(backbone, ["good", "bad", "ugly"]).labels == ["good", "bad", "ugly"]
    assert make_head(backbone, 3).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert make_head(backbone, 3).head.weight.shape == (3, 8)


@pytest.mark.parametrize("labels", [0, []])
@pytest.mark.parametrize("make_head", [TokenClassifier, SequenceClassifier])
def test_a_classifier_without_labels_is_refused(make_head, labels):
    with pytest.raises(InputError, match="at least one label, got none"):
        make_head(make("bert", "mean").backbone, labels)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(InputError, match="unknown pooling 'max': choose mean or first"):
        SequenceClassifier(make("bert", "mean").backbone, 2, pooling="max")


# One backbone, several heads


@both_backbones
@every_head
def test_a_new_head_keeps_the_backbone_and_its_weights(kind, head):
    model = make(kind, head)
    tokens, before = draw_tokens(3, 6), {name: p.data.copy() for name, p in model.backbone.named_parameters()}
    for make_head in (lambda b: SequenceClassifier(b, 5), lambda b: TokenClassifier(b, 5), SpanClassifier):
        other = make_head(model.backbone)
        assert other.backbone is model.backbone
        other(tokens, MASK)
        for name, parameter in other.backbone.named_parameters():
            np.testing.assert_array_equal(parameter.data, before[name])


def test_a_head_for_texts_can_be_put_on_a_language_model():
    language_model = GPT(**SMALL, seed=4)
    model = SequenceClassifier(language_model.backbone, ["a", "b"])
    np.testing.assert_array_equal(
        model.backbone.token_embedding.weight.data, language_model.token_embedding.weight.data
    )
    assert model(draw_tokens(3, 6)).shape == (3, 2)


def test_a_new_head_that_reads_the_first_token_keeps_the_pooler_it_finds():
    model = make("bert", "first")
    weight = model.backbone.pooler.weight
    assert SequenceClassifier(model.backbone, 5, pooling="first").backbone.pooler.weight is weight


@pytest.mark.parametrize("make_head", [SequenceClassifier, TokenClassifier, SpanClassifier])
def test_a_head_that_has_no_use_for_a_pooler_leaves_none_in_the_weights(make_head):
    model = make_head(make("bert", "first").backbone)
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]


# Frozen parts


@both_backbones
@every_head
def test_a_frozen_backbone_gets_no_gradient_and_stays_as_it_is(kind, head):
    model = make(kind, head)
    model.freeze("backbone")
    before = model.state_dict()
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    loss_of(model(draw_tokens(3, 6), MASK), draw_targets(head)).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        frozen = name.startswith("backbone.")
        assert (parameter.grad is None) is frozen, name
        assert np.array_equal(parameter.data, before[name]) is frozen, name
        assert any(parameter is p for p in optimizer.parameters) is not frozen, name


@both_backbones
def test_one_layer_can_be_frozen(kind):
    model, layer = make(kind, "tagging"), "backbone.layers.0"
    model.freeze(layer)
    loss_of(model(draw_tokens(3, 6), MASK), draw_targets("tagging")).backward()
    frozen = [name for name, p in model.named_parameters() if p.grad is None]
    assert frozen == [name for name, _ in model.named_parameters() if name.startswith(f"{layer}.")]
    assert frozen


# Seeds


@both_backbones
@every_head
def test_the_same_seed_gives_the_same_weights_and_dropout(kind, head):
    first, again, other = (make(kind, head, dropout=0.3, seed=seed) for seed in (1, 1, 2))
    tokens = draw_tokens(3, 6)
    outputs = [model(tokens, MASK).data for model in (first, again, other)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()
    assert (outputs[0] != first(tokens, MASK).data).any()
    sites = [module for _, module in first.named_modules() if isinstance(module, nn.Dropout)]
    assert len({site.next_key(np.ones(1)) for site in sites}) == len(sites)
    first.eval()
    np.testing.assert_array_equal(first(tokens, MASK).data, first(tokens, MASK).data)
