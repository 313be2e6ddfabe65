import json
import math

import numpy as np
import pytest

from numformer import CrossEntropyLoss, InputError, gradients, nn, no_grad, ops, optim, random
from numformer.models import Transformer, TransformerConfig
from numformer.testing import check_gradients

SMALL = {"d_model": 8, "num_heads": 2, "num_encoder_layers": 2, "num_decoder_layers": 2, "d_ff": 12, "max_seq_len": 7}
SHARED = {"src_vocab_size": 11, "tgt_vocab_size": 11, "share_embeddings": True, "tie_output": True}
SEPARATE = {"src_vocab_size": 11, "tgt_vocab_size": 9, "share_embeddings": False, "tie_output": False}
TIED = {"src_vocab_size": 11, "tgt_vocab_size": 9, "share_embeddings": False, "tie_output": True}
LENGTHS, TARGET_LENGTHS = [6, 3, 4], [4, 5, 2]
both_norms = pytest.mark.parametrize("pre_norm", [True, False], ids=["pre-norm", "post-norm"])
every_tie = pytest.mark.parametrize("ties", [SHARED, TIED, SEPARATE], ids=["shared", "tied", "separate"])
both_positions = pytest.mark.parametrize("positions", ["sinusoidal", "learned"])


def make(seed=0, **settings):
    return Transformer(TransformerConfig(**SMALL | SHARED | {"dropout": 0.0} | settings), seed=seed)


def draw_batch(below=9):
    """Sources and targets filled up with 0, and what the targets should be followed by."""
    rng, rows = np.random.default_rng(0), []
    for lengths in (LENGTHS, TARGET_LENGTHS, TARGET_LENGTHS):
        ids = rng.integers(1, below, (3, max(lengths)))
        ids[np.arange(max(lengths)) >= np.array(lengths)[:, None]] = 0
        rows.append(ids)
    src, tgt, next_ids = rows
    return src, tgt, np.where(tgt == 0, -100, next_ids)


def loss_of(logits, targets, **settings):
    return CrossEntropyLoss(**settings)(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


# Gradients and padding


@pytest.mark.parametrize(
    ("ties", "positions", "pre_norm"),
    [
        (SHARED, "sinusoidal", True),
        (SHARED, "learned", False),
        (TIED, "learned", True),
        (SEPARATE, "sinusoidal", False),
    ],
)
def test_every_gradient_agrees_with_central_differences(ties, positions, pre_norm, randomise):
    model = randomise(make(**ties, activation="gelu", positions=positions, pre_norm=pre_norm))
    src, tgt, targets = draw_batch()
    check_gradients(lambda: loss_of(model(src, tgt), targets), parameters=list(model.parameters()), tolerance=1e-5)


@both_norms
def test_every_gradient_with_dropout_and_smoothing(pre_norm, randomise):
    one_layer = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    model = randomise(make(activation="gelu", pre_norm=pre_norm, dropout=0.2, **one_layer))
    src, tgt, targets = draw_batch()

    def loss():
        with random.use(random.Stream(1, 2)):
            return loss_of(model(src, tgt), targets, label_smoothing=0.1)

    check_gradients(loss, parameters=list(model.parameters()), tolerance=1e-5)


@both_norms
@both_positions
def test_a_padded_batch_is_each_pair_alone_in_logits_loss_and_gradients(pre_norm, positions, randomise):
    model = randomise(make(pre_norm=pre_norm, positions=positions))
    src, tgt, targets = draw_batch()
    parameters = list(model.parameters())
    together = model(src, tgt)
    loss = loss_of(together, targets, reduction="sum")
    total, sums = 0.0, [0.0] * len(parameters)
    for row, (S, T) in enumerate(zip(LENGTHS, TARGET_LENGTHS, strict=True)):
        logits = model(src[row : row + 1, :S], tgt[row : row + 1, :T])
        np.testing.assert_allclose(together.data[row, :T], logits.data[0], atol=1e-11)
        alone = loss_of(logits, targets[row, :T], reduction="sum")
        total += alone.item()
        sums = [a + b for a, b in zip(sums, gradients(alone, parameters), strict=True)]
    assert loss.item() == pytest.approx(total, rel=1e-12)
    for (name, _), grad, expected in zip(model.named_parameters(), gradients(loss, parameters), sums, strict=True):
        np.testing.assert_allclose(grad, expected, atol=1e-10, err_msg=name)


def test_more_padding_changes_no_logits_of_real_tokens(randomise):
    model = randomise(make())
    src, tgt, _ = draw_batch()
    wide = [np.pad(ids, ((0, 0), (0, 1))) for ids in (src, tgt)]
    np.testing.assert_allclose(model(*wide).data[:, :5][tgt > 0], model(src, tgt).data[tgt > 0], atol=1e-11)


def test_another_padding_token_is_respected(randomise):
    model, (src, tgt, _) = randomise(make(pad_id=10)), draw_batch()
    other = np.where(src == 0, 10, src)
    real = tgt > 0
    np.testing.assert_allclose(model(other, tgt).data[real], model(src, tgt, src > 0).data[real], atol=1e-11)
    assert abs(model(src, tgt).data[real] - model(src, tgt, src > 0).data[real]).max() > 1e-3


@pytest.mark.parametrize(
    "form", [lambda m: m, lambda m: m.astype(int), lambda m: m.tolist(), lambda m: m[:, None, None]]
)
def test_the_default_mask_hides_the_padding_of_the_source(form, randomise):
    model, (src, tgt, _) = randomise(make()), draw_batch()
    np.testing.assert_array_equal(model(src, tgt, form(src > 0)).data, model(src, tgt).data)


def test_a_mask_of_the_target_hides_what_stands_before_a_token_too(randomise):
    model, (src, tgt, _) = randomise(make()), draw_batch()
    tgt[0, 1], mask = 5, np.ones(tgt.shape, bool)
    mask[0, 1] = False
    before = model(src, tgt, None, mask).data
    tgt[0, 1] = 6
    after = model(src, tgt, None, mask).data
    np.testing.assert_array_equal(np.delete(before[0], 1, axis=0), np.delete(after[0], 1, axis=0))


def test_a_causal_matrix_for_the_target_says_what_holds_anyway(randomise):
    model, (src, tgt, _) = randomise(make()), draw_batch()
    for rows in (slice(None), slice(0, 1)):
        found = model(src[rows], tgt[rows], None, np.tri(5, dtype=bool))
        np.testing.assert_array_equal(found.data, model(src[rows], tgt[rows]).data)
    square = model(src, tgt[:, :3], None, np.tri(3, dtype=bool))  # as many rows as tokens
    np.testing.assert_array_equal(square.data, model(src, tgt[:, :3]).data)


def test_a_source_of_nothing_but_padding_gives_numbers(randomise):
    model, (src, tgt, targets) = randomise(make()), draw_batch()
    src[1] = 0
    logits = model(src, tgt)
    assert np.isfinite(logits.data).all()
    assert all(np.isfinite(grad).all() for grad in gradients(loss_of(logits, targets), list(model.parameters())))


# What it computes


@both_norms
def test_later_target_tokens_change_no_earlier_bit_and_the_source_reaches_all(pre_norm):
    model, (src, tgt, _) = make(pre_norm=pre_norm), draw_batch()
    src, tgt = src[:1], tgt[1:2]
    before = model(src, tgt).data
    changed = tgt.copy()
    changed[0, 3] = tgt[0, 3] % 8 + 1
    after = model(src, changed).data
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (abs(before[:, 3:] - after[:, 3:]).max(axis=-1) > 1e-4).all()
    for s in range(6):
        changed = src.copy()
        changed[0, s] = src[0, s] % 8 + 1
        assert (abs(model(changed, tgt).data - before).max(axis=-1) > 1e-5).all()


@both_positions
@every_tie
def test_embeddings_are_scaled_by_the_root_of_the_width_before_positions_are_added(positions, ties, randomise):
    model, (src, tgt, _) = randomise(make(positions=positions, **ties)), draw_batch()

    def embedded(side, ids):
        layer = getattr(model, f"{side}_positions")
        table = layer.weight.data if positions == "learned" else ops.sinusoidal_positions(7, 8)
        return getattr(model, f"{side}_embedding").weight.data[ids] * math.sqrt(8) + table[: ids.shape[1]]

    memory = model.encoder(embedded("src", src), src_mask := model.padding_mask(src))
    np.testing.assert_allclose(model.encode(src).data, memory.data, atol=1e-6)
    y = model.decoder(embedded("tgt", tgt), memory, src_mask).data
    output = model.output or model.tgt_embedding
    expected = y @ output.weight.data.T + (model.output.bias.data if model.output else 0.0)
    np.testing.assert_allclose(model(src, tgt).data, expected, atol=1e-5)
    assert expected.shape == (3, 5, ties["tgt_vocab_size"])


@both_norms
def test_only_pre_norm_stacks_end_in_a_norm(pre_norm):
    names = [name for name, _ in make(pre_norm=pre_norm).named_parameters()]
    assert ("encoder.norm.weight" in names) is pre_norm
    assert ("decoder.norm.weight" in names) is pre_norm


def test_decode_of_encode_is_the_whole(randomise):
    model, (src, tgt, _) = randomise(make()), draw_batch()
    np.testing.assert_array_equal(model.decode(tgt, model.encode(src), src > 0).data, model(src, tgt).data)


def test_ties_leave_one_table_two_or_two_and_an_output_layer():
    def tables(**ties):
        return [name for name, _ in make(**ties).named_parameters() if not name.startswith(("encoder", "decoder"))]

    assert tables(**SHARED) == ["src_embedding.weight"]
    assert tables(**TIED) == ["src_embedding.weight", "tgt_embedding.weight"]
    assert tables(**SEPARATE) == ["src_embedding.weight", "tgt_embedding.weight", "output.weight", "output.bias"]


@both_norms
@both_positions
@pytest.mark.parametrize("step", [1, 2])
def test_cached_logits_are_the_uncached_ones_for_every_prefix(pre_norm, positions, step, randomise):
    model, (src, _, _) = randomise(make(pre_norm=pre_norm, positions=positions)).eval(), draw_batch()
    tgt = np.random.default_rng(3).integers(1, 11, (3, 6))
    with no_grad():
        memory = model.encode(src)
        cache = model.make_cache(3)
        for t in range(0, 6, step):
            assert cache.lengths.tolist() == [t] * 3
            found = model.decode(tgt[:, t : t + step], memory if t == 0 else None, src > 0, cache=cache).data
            expected = model.decode(tgt[:, : t + step], memory, src > 0).data[:, t:]
            np.testing.assert_allclose(found, expected, atol=1e-11)


def test_the_cache_computes_keys_and_values_of_the_source_once(randomise, monkeypatch):
    model, (src, tgt, _) = randomise(make()).eval(), draw_batch()
    calls = []
    project = model.decoder.layers[0].cross_attn.k_proj
    monkeypatch.setattr(project, "forward", lambda x: (calls.append(x.shape), type(project).forward(project, x))[1])
    with no_grad():
        memory, cache = model.encode(src), model.make_cache(3)
        for t in range(5):
            model.decode(tgt[:, t : t + 1], memory, src > 0, cache=cache)
    assert calls == [(3, 6, 8)]


def test_every_dropout_draws_masks_of_its_own():
    sites = [module for _, module in make(dropout=0.3).named_modules() if isinstance(module, nn.Dropout)]
    assert len({site.next_key(np.ones(1)) for site in sites}) == len(sites) > 20


def test_dropout_acts_in_training_only():
    model, (src, tgt, _) = make(dropout=0.3), draw_batch()
    assert (model(src, tgt).data != model(src, tgt).data).any()
    model.eval()
    np.testing.assert_array_equal(model(src, tgt).data, model(src, tgt).data)


# Seeds, initial weights, learning


@both_positions
@every_tie
def test_the_same_seed_gives_the_same_weights_and_dropout(positions, ties):
    first, again, other = (make(seed, dropout=0.3, positions=positions, **ties) for seed in (1, 1, 2))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert name.endswith("bias") or "norm" in name or (a.data != c.data).any(), name
    src, tgt, _ = draw_batch()
    np.testing.assert_array_equal(first(src, tgt).data, again(src, tgt).data)


@every_tie
def test_an_untrained_model_favours_no_token_by_much(ties):
    sizes = {"src_vocab_size": 60, "tgt_vocab_size": 60, "d_model": 64, "d_ff": 64}
    model = make(**ties | sizes)
    logits = model(*np.random.default_rng(0).integers(1, 60, (2, 4, 7))).data
    assert logits.std() < 2.0


@both_norms
def test_it_learns_to_reverse(pre_norm):
    model = make(d_model=32, d_ff=64, pre_norm=pre_norm)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    src = np.random.default_rng(0).integers(2, 11, (8, 4))
    targets = src[:, ::-1]
    tgt = np.concatenate([np.ones((8, 1), int), targets[:, :-1]], axis=1)
    losses = []
    for _ in range(30):
        loss = loss_of(model(src, tgt), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_frozen_parts_get_no_gradient_and_are_not_trained():
    model, (src, tgt, targets) = make(), draw_batch()
    model.freeze("encoder.layers.0", "decoder.layers.1.cross_attn")
    frozen = [
        n for n, _ in model.named_parameters() if n.startswith(("encoder.layers.0.", "decoder.layers.1.cross_attn."))
    ]
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    loss_of(model(src, tgt), targets).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == frozen
    assert len(optimizer.parameters) == len(list(model.parameters())) - len(frozen)


# Settings and wrong input


def test_sizes_may_be_given_without_a_config():
    sizes = SMALL | TIED | {"num_encoder_layers": 1, "dropout": 0.0, "pre_norm": False}
    assert Transformer(11, 9, 8, 2, 1, 2, 12, 7, 0.0, pre_norm=False).config == TransformerConfig(**sizes)
    assert Transformer(11, d_model=8, num_heads=2).config.tgt_vocab_size == 11
    assert not Transformer(11, d_model=8, num_heads=2).config.share_embeddings
    assert Transformer(11, d_model=8, num_heads=2, share_embeddings=True).config.share_embeddings


def test_the_config_survives_the_way_to_disk_and_back():
    config = TransformerConfig(**SMALL, **SEPARATE, positions="learned", pre_norm=False, activation="silu", pad_id=3)
    assert TransformerConfig.from_disk(json.loads(json.dumps(config.to_disk()))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 3}, "num_heads=3 does not divide d_model=8"),
        ({"num_decoder_layers": 0}, "num_decoder_layers must be a positive whole number.*, got 0"),
        ({"tgt_vocab_size": 0, "share_embeddings": False}, "needs a tgt_vocab_size of at least 1, got 0"),
        ({"src_vocab_size": 0, "tgt_vocab_size": 0}, "needs a src_vocab_size of at least 1, got 0"),
        ({"tgt_vocab_size": 9}, "share_embeddings needs vocabularies of one size.*=11.*=9"),
        ({"positions": "rotary"}, "unknown positions 'rotary': choose sinusoidal or learned"),
        ({"activation": "swish"}, "unknown activation 'swish'"),
        ({"pre_norm": "no"}, "pre_norm must be true or false, got 'no'"),
        ({"pad_id": None}, "pad_id must be a whole number, got None"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        make(**settings)


def test_a_config_and_settings_together_are_refused():
    with pytest.raises(InputError, match="not both; got pre_norm as well"):
        Transformer(TransformerConfig(**SMALL | SHARED), pre_norm=False)


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [
        (np.ones((1, 8), int), [[1]], "a sequence of 8 tokens does not fit max_seq_len=7"),
        ([[1]], np.ones((1, 8), int), "a sequence of 8 tokens does not fit max_seq_len=7"),
        ([[11]], [[1]], "token ids run from 11 to 11, but the vocabulary has 11 tokens"),
        ([[1]], [[9, 0]], "token ids run from 0 to 9, but the vocabulary has 9 tokens"),
        ([1], [[1]], r"tokens must be integers with axes \[B T\]"),
        ([[[1]]], [[1]], r"tokens must be integers with axes \[B T\]"),
        ([[1, 2], [3, 4]], [[1]], "B is 1 in q but 2 in k"),
    ],
)
@both_positions
def test_tokens_that_do_not_fit_are_refused(src, tgt, message, positions):
    with pytest.raises(InputError, match=message):
        make(**SEPARATE, positions=positions)(src, tgt)
