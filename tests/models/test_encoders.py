"""What RoBERTa, DistilBERT, T5 and BART do besides giving the numbers of transformers: training, files, errors."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest

from numformer import CrossEntropyLoss, InputError, optim, random
from numformer.models import BartConfig, BertConfig, DistilBertConfig, RobertaConfig, T5Config, build_model
from numformer.models.build import build_backbone
from numformer.pretrained import load_model, save_model
from numformer.testing import check_gradients

SIZES = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "d_ff": 12, "max_seq_len": 12}
BOTH = SIZES | {"num_encoder_layers": 2, "num_decoder_layers": 1}
ENCODERS = {
    "bert": BertConfig(**SIZES, dropout=0.0, num_segments=3),
    "roberta": RobertaConfig(**SIZES, dropout=0.0, num_segments=2),
    "distilbert": DistilBertConfig(**SIZES, dropout=0.0),
}
WRITERS = {
    "t5": T5Config(**BOTH, dropout=0.0, head_dim=3, num_buckets=8, max_distance=10),
    "t5-gated": T5Config(**BOTH, dropout=0.0, head_dim=3, gated=True, activation="gelu_tanh", tie_embeddings=False),
    "bart": BartConfig(**BOTH, dropout=0.0, scale_embeddings=True, pad_id=0, start_id=3),
}
CONFIGS = ENCODERS | WRITERS
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
every_encoder = pytest.mark.parametrize("config", ENCODERS.values(), ids=ENCODERS)
every_writer = pytest.mark.parametrize("config", WRITERS.values(), ids=WRITERS)


def draw_tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(2, 11, shape)


def task_of(config):
    return "seq2seq" if hasattr(config, "start_id") else "mlm"


def loss_of(model, tokens, targets):
    inputs = (tokens, tokens) if hasattr(model, "decode") else (tokens,)
    logits = model(*inputs)
    return CrossEntropyLoss()(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


# Training


@every_config
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_every_gradient_agrees_with_central_differences(config, dropout, randomise):
    model = randomise(build_model(dataclasses.replace(config, dropout=dropout), task_of(config)))
    tokens, targets = draw_tokens(2, 5), draw_tokens(2, 5, seed=1)

    def loss():
        with random.use(random.Stream(1, 2)):
            return loss_of(model, tokens, targets)

    check_gradients(loss, parameters=list(model.parameters()), tolerance=2e-5)


@every_config
def test_a_new_model_learns(config):
    model = build_model(config, task_of(config))
    optimizer, tokens, losses = optim.AdamW(model.parameters(), lr=1e-2), draw_tokens(4, 12), []
    for _ in range(60):
        loss = loss_of(model, tokens, (tokens * 7) % 11)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < min(1.2, 0.6 * losses[0])


@every_config
def test_the_seed_decides_the_weights(config):
    first, again, other = (build_model(config, task_of(config), seed=seed) for seed in (1, 1, 2))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert a.ndim == 1 or (a.data != c.data).any(), name


# Padding, positions and pairs


@every_encoder
@pytest.mark.parametrize("task", ["mlm", "classify", "regress", "tag", "qa", "embed"])
def test_every_head_is_saved_and_loaded_to_the_same_bits_and_sees_no_padding(config, task, tmp_path):
    settings = {"labels": ["a", "b", "c"]} if task in ("classify", "tag") else {}
    settings |= {"pooling": "first"} if task in ("classify", "regress") else {}
    model = build_model(config, task, **settings).eval()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert (type(loaded), loaded.config) == (type(model), config)
    tokens, mask = draw_tokens(2, 6), np.arange(6) < np.array([[6], [4]])
    np.testing.assert_array_equal(loaded(tokens, mask).data, model(tokens, mask).data)
    real, alone = loaded(tokens, mask).data[1], model(tokens[1:, :4]).data[0]
    real = real[:4] if task in ("tag", "mlm") else real[..., :4] if task == "qa" else real
    np.testing.assert_allclose(real, alone, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("task", ["mlm", "classify", "tag", "qa", "embed"])
def test_the_second_text_of_a_pair_is_told_from_the_first_by_every_head(kind, task):
    model, tokens = build_model(ENCODERS[kind], task).eval(), draw_tokens(1, 6)
    segments = np.array([[0, 0, 0, 1, 1, 1]])
    first, pair = model(tokens, segments=np.zeros_like(segments)).data, model(tokens, segments=segments).data
    np.testing.assert_array_equal(first, model(tokens).data)
    assert (first != pair).any()


def test_a_model_without_segments_passes_them_over():
    model, tokens = build_model(ENCODERS["distilbert"], "classify").eval(), draw_tokens(1, 6)
    np.testing.assert_array_equal(model(tokens, segments=np.ones_like(tokens)).data, model(tokens).data)


def test_positions_of_roberta_count_no_padding():
    model, tokens = build_backbone(ENCODERS["roberta"]).eval(), draw_tokens(1, 5)
    padded = np.concatenate([np.ones((1, 3), int), tokens], axis=1)  # before the text
    mask = np.arange(8)[None] >= 3
    np.testing.assert_allclose(model(padded, mask).data[:, 3:], model(tokens).data, atol=1e-6)


@every_writer
def test_a_source_is_read_up_to_its_padding(config):
    model, src, tgt = build_model(config, "seq2seq").eval(), draw_tokens(1, 5), draw_tokens(1, 4)
    padded = np.concatenate([src, np.full((1, 3), config.pad_id)], axis=1)
    np.testing.assert_allclose(model(padded, tgt).data, model(src, tgt).data, atol=1e-5)


# config.json


@every_config
def test_a_config_survives_the_way_to_disk_and_back(config):
    assert type(config).from_disk(json.loads(json.dumps(config.to_disk()))) == config


NONSENSE = [None, True, -1, 0, 7.5, 10**400, float("nan"), float("inf"), "x", [], [[]], {}, {"a": 1}]


@every_config
def test_no_value_of_any_key_is_more_than_refused(config):
    keys = config.to_disk()
    for key in keys:
        for value in NONSENSE:
            with contextlib.suppress(InputError):
                type(config).from_disk(keys | {key: value})


@pytest.mark.parametrize(
    ("kind", "dropped", "expected"),
    [
        ("bert", ["layer_norm_eps", "type_vocab_size", "pad_token_id"], {"layer_norm_eps": 1e-12, "num_segments": 2}),
        ("roberta", ["layer_norm_eps", "type_vocab_size", "pad_token_id"], {"layer_norm_eps": 1e-12, "pad_id": 1}),
        ("t5", ["num_decoder_layers", "n_positions"], {"num_decoder_layers": 2, "max_seq_len": 512}),
        ("t5-gated", ["scale_decoder_outputs"], {"tie_embeddings": False}),
        ("bart", ["decoder_attention_heads", "decoder_start_token_id"], {"num_heads": 2, "start_id": 2}),
    ],
)
def test_a_key_that_is_left_out_says_what_it_says_in_transformers(kind, dropped, expected):
    keys = {name: value for name, value in CONFIGS[kind].to_disk().items() if name not in dropped}
    config = type(CONFIGS[kind]).from_disk(keys)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("roberta", {"pad_token_id": 11}, "pad_id must be one of the 11 tokens, got 11"),
        ("roberta", {"max_position_embeddings": 2}, "max_seq_len must be a positive whole number"),
        ("t5", {"feed_forward_proj": "gated-mish"}, "unknown activation 'mish'"),
        ("t5", {"relative_attention_num_buckets": 2}, "at least 4 buckets"),
        ("t5", {"relative_attention_max_distance": 4}, "max_distance above half their number"),
        ("t5", {"decoder_start_token_id": 11}, "start_id must be one of the 11 tokens, got 11"),
        ("t5", {"is_encoder_decoder": False}, "is_encoder_decoder=False is not supported"),
        ("bart", {"decoder_ffn_dim": 16}, "decoder_ffn_dim=16 is not supported beside encoder_ffn_dim=12"),
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings=False is not supported"),
    ],
)
def test_keys_that_are_not_supported_or_cannot_be_right_are_named(kind, keys, message):
    with pytest.raises(InputError, match=message):
        type(CONFIGS[kind]).from_disk(CONFIGS[kind].to_disk() | keys)


def test_a_gated_gelu_that_no_file_can_say_is_refused():
    with pytest.raises(InputError, match="takes gelu_tanh for gelu"):
        T5Config(**BOTH, gated=True, activation="gelu")
