"""What every decoder-only architecture with rotary positions does: heads, training, newer and older files."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest

from numformer import CrossEntropyLoss, InputError, capture, gradients, inference, optim, random
from numformer.models import (
    Gemma2Config,
    Gemma3,
    Gemma3Config,
    GPTNeoXConfig,
    LlamaConfig,
    Mistral,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    RopeScaling,
    build_model,
)
from numformer.models.disk import from_disk, to_disk
from numformer.nn.stack import set_recompute
from numformer.pretrained import load_model, save_model
from numformer.testing import check_gradients

SIZES = {"vocab_size": 11, "d_model": 8, "num_heads": 4, "num_layers": 2, "d_ff": 12, "max_seq_len": 12}
GROUPED = SIZES | {"num_kv_heads": 2, "head_dim": 4}
STRETCHED = RopeScaling(rope_type="llama3", factor=8.0, original_max_seq_len=6)
CONFIGS = {
    "llama": LlamaConfig(**GROUPED, rope_scaling=STRETCHED),
    "mistral": MistralConfig(**GROUPED, sliding_window=3),
    "qwen2": Qwen2Config(
        **SIZES, num_kv_heads=2, sliding_window=3, layer_types=("full_attention", "sliding_attention")
    ),
    "qwen3": Qwen3Config(**GROUPED, tie_embeddings=True),
    "gemma2": Gemma2Config(**GROUPED, sliding_window=3, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
    "gemma3": Gemma3Config(**GROUPED | {"num_layers": 6}, sliding_window=3, rope_scaling=RopeScaling(factor=8.0)),
    "gpt_neox": GPTNeoXConfig(**SIZES | {"num_heads": 2}, rotary_pct=0.5),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def draw_tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 11, shape)


def loss_of(model, tokens, targets):
    logits = model(tokens)
    return CrossEntropyLoss()(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


# Models


@every_config
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_every_gradient_agrees_with_central_differences(config, dropout, randomise):
    config = dataclasses.replace(config, num_layers=2, dropout=dropout)
    model = randomise(build_model(config, "lm"))
    tokens, targets = draw_tokens(2, 6), draw_tokens(2, 6, seed=1)

    def loss():
        with random.use(random.Stream(1, 2)):
            return loss_of(model, tokens, targets)

    check_gradients(loss, parameters=list(model.parameters()), tolerance=2e-5)


@every_config
def test_a_new_model_starts_near_even_odds_and_learns(config):
    model = build_model(config, "lm")
    optimizer, tokens, losses = optim.AdamW(model.parameters(), lr=1e-2), draw_tokens(4, 12), []
    for _ in range(40):
        loss = loss_of(model, tokens, (tokens * 7) % 11)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(11), abs=0.2)
    assert losses[-1] < 1.0


@every_config
def test_the_seed_decides_the_weights_and_norms_change_nothing_at_first(config):
    first, again, other = (build_model(config, "lm", seed=seed) for seed in (1, 1, 2))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert a.ndim == 1 or (a.data != c.data).any()
        if "norm" in name and name.endswith("weight"):
            assert (a.data == (0.0 if config.model_type.startswith("gemma") else 1.0)).all()


@every_config
@pytest.mark.parametrize("task", ["lm", "classify", "regress", "tag", "qa"])
def test_every_head_is_saved_and_loaded_to_the_same_bits(config, task, tmp_path):
    settings = {"labels": ["a", "b", "c"]} if task in ("classify", "tag") else {}
    model = build_model(config, task, **settings).eval()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert (type(loaded), loaded.config) == (type(model), config)
    tokens = draw_tokens(2, 6)
    np.testing.assert_array_equal(loaded(tokens).data, model(tokens).data)
    if task != "lm":
        mask = np.arange(6) < np.array([[6], [4]])
        real, alone = loaded(tokens, mask).data[1], model(tokens[1:, :4]).data[0]
        real = real[:4] if task == "tag" else real[..., :4] if task == "qa" else real
        np.testing.assert_allclose(real, alone, atol=1e-6)


@every_config
def test_recomputed_layers_give_the_same_gradients(config, randomise):
    model, tokens = randomise(build_model(config, "lm")), draw_tokens(2, 8)
    found = []
    for wanted in (False, True):
        set_recompute(model, wanted)
        model.zero_grad()
        loss_of(model, tokens, tokens).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for plain, again in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, again)


@every_config
def test_every_layer_shows_what_it_computes(config):
    model, tokens = build_model(config, "lm").eval(), draw_tokens(1, 7)
    with capture(model, ["layers.1.*", "layers.1.self_attn.weights"]) as seen:
        loss = loss_of(model, tokens, tokens)
    weights = seen.tensors["layers.1.self_attn.weights"].numpy()
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
    window = getattr(config, "sliding_window", None)
    if window is not None and config.model_type != "gemma2":  # whose second layer sees everything
        assert not weights[..., 6, : 7 - window].any()
        assert weights[..., 6, 7 - window :].all()
    names = ["layers.1.residual1", "layers.1.residual2.norm", "layers.1.feed_forward", "layers.1.self_attn.weights"]
    for name, gradient in zip(names, gradients(loss, [seen.tensors[name] for name in names]), strict=True):
        assert gradient.any(), name


def test_the_window_of_an_attention_is_what_limits_how_far_a_layer_sees():
    model = Mistral(**GROUPED | {"num_layers": 1}, sliding_window=3).eval()
    tokens = draw_tokens(1, 9)
    with inference():
        before = model(tokens).data
        tokens[0, 2] = tokens[0, 2] % 10 + 1
        changed = (model(tokens).data != before).any(axis=-1)[0]
    assert changed.tolist() == [t in (2, 3, 4) for t in range(9)]


@pytest.mark.parametrize(
    ("kind", "windows"),
    [(Gemma2Config, [3, None] * 4), (Gemma3Config, [*[3] * 5, None, 3, 3]), (Qwen3Config, [None] * 8)],
)
def test_every_architecture_has_its_own_pattern_of_windows(kind, windows):
    sizes = GROUPED | {"num_layers": 8} | ({} if kind is Qwen3Config else {"sliding_window": 3})
    layers = build_model(kind(**sizes), "lm").layers
    assert [layer.self_attn.window for layer in layers] == windows


def test_a_share_of_1_rotates_whole_heads():
    (layer,) = build_model(GPTNeoXConfig(**SIZES | {"num_layers": 1}, rotary_pct=1.0), "lm").layers
    assert layer.self_attn.rope_frequencies == (1.0,)  # heads are 2 wide


def test_layers_with_and_without_a_window_have_rotary_positions_of_their_own():
    layers = Gemma3(CONFIGS["gemma3"]).layers
    fast, slow = layers[0].self_attn, layers[5].self_attn
    assert (fast.window, slow.window) == (3, None)
    assert fast.rope_frequencies == pytest.approx((1.0, 1e-2))
    assert slow.rope_frequencies == pytest.approx((1 / 8, 1e-3 / 8))


# config.json


@every_config
def test_a_config_survives_the_way_to_disk_and_back(config):
    keys = json.loads(json.dumps(config.to_disk()))
    assert type(config).from_disk(keys) == config
    plain = type(config)(**SIZES | {"num_heads": 1})
    assert type(config).from_disk(json.loads(json.dumps(plain.to_disk()))) == plain


def without(config, *names):
    return {name: value for name, value in config.to_disk().items() if name not in names}


@pytest.mark.parametrize(
    ("config", "dropped", "keys"),
    [
        (CONFIGS["gemma2"], ["layer_types", "rope_parameters"], {}),
        (CONFIGS["gemma3"], ["layer_types", "rope_parameters"], {"sliding_window_pattern": 6}),
        (CONFIGS["gemma3"], [], {"sliding_window_pattern": None, "_sliding_window_pattern": 6}),
        (CONFIGS["gemma3"], ["rope_parameters"], {"rope_scaling": {"type": "linear", "factor": 8.0}}),
        (CONFIGS["qwen2"], ["layer_types", "rope_parameters", "rope_scaling"], {}),
        (CONFIGS["qwen3"], ["layer_types", "use_sliding_window", "sliding_window"], {"max_window_layers": 28}),
        (CONFIGS["gpt_neox"], ["rope_parameters", "rope_scaling"], {}),
        (CONFIGS["gpt_neox"], ["rotary_pct", "rotary_emb_base", "rope_scaling"], {}),
        (CONFIGS["mistral"], ["head_dim"], {"head_dim": 4, "rope_parameters": None}),
    ],
)
def test_keys_of_older_and_newer_versions_say_the_same(config, dropped, keys):
    assert type(config).from_disk(without(config, *dropped) | keys) == config


def test_a_shorter_pattern_of_windows_is_read_as_the_types_of_the_layers():
    keys = without(CONFIGS["gemma3"], "layer_types") | {"sliding_window_pattern": 2, "num_hidden_layers": 3}
    assert [Gemma3Config.from_disk(keys).window(layer) for layer in range(3)] == [3, None, 3]


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("mistral", {"sliding_window": 0}, "sliding_window must be a positive whole number"),
        ("mistral", {"sliding_window": "4096"}, "sliding_window must be a positive whole number .*, got '4096'"),
        ("mistral", {"layer_types": ["full_attention"]}, "layer_types are not supported in a mistral"),
        ("mistral", {"num_key_value_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ("qwen2", {"layer_types": ["full_attention"]}, "layer_types must name num_layers=2 layers, got 1"),
        (
            "qwen2",
            {"layer_types": ["full_attention", "linear"]},
            "must be a list of full_attention and sliding_attention",
        ),
        ("qwen2", {"layer_types": 3}, "must be a list of full_attention and sliding_attention, got 3"),
        ("qwen2", {"use_sliding_window": False}, "layers of sliding_attention need a sliding_window"),
        ("qwen2", {"layer_types": None, "max_window_layers": "1"}, "needs max_window_layers, got '1'"),
        ("qwen2", {"sliding_window": -3}, "sliding_window must be a positive whole number"),
        ("qwen3", {"attention_bias": True}, "attention_bias=True is not supported"),
        ("gemma2", {"attn_logit_softcapping": -1.0}, "attn_logit_softcapping must be a number above 0, got -1.0"),
        ("gemma2", {"final_logit_softcapping": "30"}, "final_logit_softcapping must be a number above 0, got '30'"),
        ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar must be a number above 0, got 0"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True is not supported"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0 is not supported, only None"),
        ("gemma3", {"rope_parameters": {"rope_theta": 1.0}}, "rope_parameters must have tables for full_attention and"),
        ("gemma3", {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2}}}, "stretch them"),
        ("gemma3", {"sliding_window_pattern": "6"}, "sliding_window_pattern must be a number of layers, got '6'"),
        ("gemma3", {"sliding_window_pattern": 0}, "sliding_window_pattern must be a number of layers, got 0"),
        ("gemma3", {"sliding_window": None}, "layers of sliding_attention need a sliding_window"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 0.3}}, "rotary_pct=0.3 must rotate an even part"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 1.5}}, "rotary_pct=1.5 must rotate an even part"),
        (
            "gpt_neox",
            {"rope_parameters": {"partial_rotary_factor": "x"}},
            "rotary_pct must be a number above 0, got 'x'",
        ),
        ("gpt_neox", {"rope_parameters": [1]}, "rope_parameters must be a table of rotary positions"),
        ("gpt_neox", {"attention_bias": False}, "attention_bias=False is not supported, only True"),
        ("gpt_neox", {"use_parallel_residual": 1}, "parallel_residual must be true or false, got 1"),
    ],
)
def test_keys_that_are_not_supported_or_cannot_be_right_are_named(kind, keys, message):
    with pytest.raises(InputError, match=message):
        type(CONFIGS[kind]).from_disk(CONFIGS[kind].to_disk() | keys)


NONSENSE = [None, True, -1, 0, 7.5, 10**400, float("nan"), float("inf"), "x", [], [[]], {}, {"a": 1}, {"rope_type": {}}]


@every_config
def test_no_value_of_any_key_is_more_than_refused(config):
    keys = config.to_disk()
    more = ("rope_scaling", "rope_parameters", "max_window_layers", "use_sliding_window", "sliding_window_pattern")
    for key in {*keys, *more}:
        for value in NONSENSE:
            for changed in (keys, without(config, "rope_parameters", "layer_types")):
                with contextlib.suppress(InputError):
                    type(config).from_disk(changed | {key: value})


def test_a_window_that_no_layer_has_is_refused_in_python_and_left_out_where_a_file_names_it():
    with pytest.raises(
        InputError, match="sliding_window=3, but no layer has it: layer_types says which are sliding_att"
    ):
        Qwen2Config(**SIZES, sliding_window=3)
    keys = CONFIGS["qwen3"].to_disk() | {"sliding_window": 4096, "max_window_layers": 2}
    for used in (False, True):
        assert Qwen3Config.from_disk(keys | {"use_sliding_window": used}) == CONFIGS["qwen3"]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        *((kind, "vocab_size") for kind in CONFIGS),
        *((kind, "num_attention_heads") for kind in CONFIGS),
        ("mistral", "sliding_window"),
        ("gemma3", "head_dim"),
        ("qwen3", "num_key_value_heads"),
        ("gemma2", "query_pre_attn_scalar"),
    ],
)
def test_a_key_that_has_no_value_of_its_own_must_be_there(kind, key):
    with pytest.raises(InputError, match=f"config.json lacks {key}$"):
        type(CONFIGS[kind]).from_disk(without(CONFIGS[kind], key))


@every_config
@pytest.mark.parametrize("key", ["hidden_size", "vocab_size", "intermediate_size", "head_dim"])
def test_a_model_larger_than_the_memory_is_refused_before_anything_is_reserved(config, key, measure_bytes):
    keys = to_disk(build_model(config, "lm"))
    if key not in keys:
        return  # a GPT-NeoX shares its width out evenly
    huge = keys | {key: (1 << 31) - 2, "vocab_size": (1 << 31) - 2 if key == "vocab_size" else 1 << 16}

    def load():
        with pytest.raises(InputError, match=r"^config.json: its weights take at least [\d,.]+ GB as float32, and"):
            from_disk(huge | {"hidden_size": huge["hidden_size"] // 8 * 8}, "config.json")

    _, _, peak = measure_bytes(load)
    assert peak < 1 << 20
