import dataclasses
import json
import os
import typing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from numformer import CrossEntropyLoss, InputError, no_grad, optim, random
from numformer.generation import BeamConfig, beam_search
from numformer.models import Llama, LlamaConfig, RopeScaling, SequenceClassifier, build_model
from numformer.models.disk import names_of, to_disk
from numformer.models.llama import LlamaSettings
from numformer.pretrained import load_model, save_model
from numformer.tasks import LanguageModel, load_task
from numformer.testing import check_gradients
from numformer.tokenizers import load_tokenizer

SMALL = {
    "vocab_size": 11,
    "d_model": 8,
    "num_heads": 4,
    "num_kv_heads": 2,
    "num_layers": 2,
    "d_ff": 12,
    "max_seq_len": 7,
}
STORIES = Path(os.environ.get("NUMFORMER_DATA", "../shared/data")) / "ckpt" / "stories260K"
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 4}
both_ties = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def draw_tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 11, shape)


def loss_of(model, tokens, targets):
    logits = model(tokens)
    return CrossEntropyLoss()(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


# A trained model of 260 thousand parameters, and what transformers 5.23.0 says with it


@pytest.fixture(scope="module")
def expected():
    if not (STORIES / "expected.json").exists():
        pytest.skip(f"there is no {STORIES / 'expected.json'}: NUMFORMER_DATA names the folder of test data")
    return json.loads((STORIES / "expected.json").read_text())


@pytest.fixture(scope="module")
def stories(expected):
    return load_model(STORIES)


@pytest.mark.parametrize("name", ["greedy_from_bos", "greedy"])
def test_greedy_tokens_are_those_of_transformers(name, stories, expected):
    ids = expected[name]["ids"]
    prompt = [1] if name == "greedy_from_bos" else expected["prompt_ids"]
    found = stories.generate([prompt], len(ids) - len(prompt), temperature=0.0, stop_ids=(2,))
    assert list(found[0]) == ids


def test_tokens_with_a_repetition_penalty_are_those_of_transformers(stories, expected):
    ids = expected["repetition_penalty_1_3"]["ids"]
    settings = {"temperature": 0.0, "repetition_penalty": 1.3, "stop_ids": (2,)}
    found = stories.generate([expected["prompt_ids"]], len(ids) - len(expected["prompt_ids"]), **settings)
    assert list(found[0]) == ids


def test_the_best_of_four_beams_is_that_of_transformers(stories, expected):
    prompt, ids = expected["prompt_ids"], expected["beam4"]["ids"]
    ((best, *_),) = beam_search(stories, [prompt], len(ids) - len(prompt), BeamConfig(num_beams=4), eos_id=2)
    assert prompt + best.ids == ids


@pytest.mark.parametrize("name", ["greedy_from_bos", "greedy", "beam4", "repetition_penalty_1_3"])
def test_the_texts_of_its_tokens_are_those_of_transformers(name, expected):
    tokenizer = load_tokenizer(STORIES)
    assert tokenizer.decode(expected[name]["ids"]) == expected[name]["text"]


def test_greedy_tokens_need_no_cache(stories, expected):
    ids = expected["greedy"]["ids"][:33]
    found = stories.generate([expected["prompt_ids"]], 20, temperature=0.0, use_cache=False)
    assert list(found[0]) == ids


def test_logits_and_their_mean_loss_are_those_of_transformers(stories, expected):
    ids = np.array([expected["greedy_from_bos"]["ids"][:200]])
    with no_grad():
        logits = stories(ids).data[0]
        loss = CrossEntropyLoss()(logits[:-1], ids[0, 1:])
    assert logits[:64].argmax(axis=-1).tolist() == expected["logits_first_64_positions_argmax"]
    np.testing.assert_allclose(logits[63], expected["logits_position_63"], atol=1e-4)
    assert loss.item() == pytest.approx(expected["mean_nll_first_200"], abs=1e-5)


def test_the_folder_is_a_language_model_that_writes_text(stories, expected):
    task = load_task(STORIES)
    assert isinstance(task, LanguageModel)
    assert isinstance(task.model, Llama)
    assert [1, *task.tokenizer.encode(expected["prompt"])] == expected["prompt_ids"]


def test_saving_it_again_gives_the_same_weights(stories, expected, tmp_path):
    save_model(stories, tmp_path)
    before, after = (load_file(folder / "model.safetensors") for folder in (STORIES, tmp_path))
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


# What it computes


@both_ties
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_every_gradient_agrees_with_central_differences(tied, dropout, randomise):
    model = randomise(Llama(**SMALL, tie_embeddings=tied, dropout=dropout))
    tokens, targets = draw_tokens(3, 6), draw_tokens(3, 6, seed=1)

    def loss():
        with random.use(random.Stream(1, 2)):
            return loss_of(model, tokens, targets)

    check_gradients(loss, parameters=list(model.parameters()), tolerance=1e-5)


def rotated(x, theta=10000.0):
    """Rotate pairs (i, i + K/2) of heads [H T K] as complex numbers."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] * theta ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def test_a_layer_is_what_the_paper_says(randomise):
    model = randomise(Llama(**SMALL | {"num_layers": 1}))
    layer, w = model.layers[0], {name: p.data for name, p in model.layers[0].named_parameters()}
    x = np.random.default_rng(0).standard_normal((1, 5, 8))

    def norm(y, weight):
        return y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-6) * weight

    h = norm(x[0], w["residual1.norm.weight"])
    q, k, v = (
        (h @ w[f"self_attn.{name}_proj.weight"].T).reshape(5, -1, 2).transpose(1, 0, 2) for name in ("q", "k", "v")
    )
    q, k, v = rotated(q), rotated(k).repeat(2, axis=0), v.repeat(2, axis=0)
    scores = np.where(np.tri(5, dtype=bool), q @ k.swapaxes(1, 2) / np.sqrt(2.0), -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y = x[0] + (weights @ v).transpose(1, 0, 2).reshape(5, 8) @ w["self_attn.out_proj.weight"].T
    h = norm(y, w["residual2.norm.weight"])
    gate = h @ w["feed_forward.linear1.weight"].T
    wide = gate / (1.0 + np.exp(-gate)) * (h @ w["feed_forward.linear3.weight"].T)
    expected = y + wide @ w["feed_forward.linear2.weight"].T
    np.testing.assert_allclose(layer(x, causal=True).data[0], expected, atol=1e-9)


@pytest.mark.parametrize("length", [7, 200])
def test_what_comes_later_changes_no_earlier_bit(length):
    model = Llama(**SMALL | {"max_seq_len": length})
    tokens, t = draw_tokens(2, length), length // 2
    before = model(tokens).data
    tokens[:, t] = tokens[:, t] % 10 + 1
    np.testing.assert_array_equal(before[:, :t], model(tokens).data[:, :t])


def test_cached_logits_are_the_uncached_ones_in_rows_of_unequal_length(randomise):
    model = randomise(Llama(**SMALL)).eval()
    tokens, lengths, cache = draw_tokens(3, 6), [2, 4, 1], model.make_cache(3)
    with no_grad():
        model(tokens[:, :4], cache=cache)
        cache.lengths[:] = lengths  # what was stored after a row's end is written over
        new = np.array([row[length : length + 2] for row, length in zip(tokens, lengths, strict=True)])
        found = model(new, cache=cache).data
        for row, length in enumerate(lengths):
            expected = model(tokens[row : row + 1, : length + 2]).data[0, -2:]
            np.testing.assert_allclose(found[row], expected, atol=1e-10)
    with pytest.raises(InputError, match="do not go together"):
        model.encode(tokens[:, :1], np.ones((3, 1)), cache)


def test_fewer_key_value_heads_make_the_cache_smaller(measure_bytes):
    sizes, held = SMALL | {"d_model": 64, "num_heads": 8, "max_seq_len": 256, "num_layers": 1}, {}
    for heads in (8, 2):
        model = Llama(**sizes | {"num_kv_heads": heads}).eval()

        def fill(model=model):
            cache = model.make_cache(4)
            with no_grad():
                model(draw_tokens(4, 250), cache=cache, last=np.array([-1] * 4))
            return cache

        fill()
        _, held[heads], _ = measure_bytes(fill)
    keys_and_values = 2 * 4 * 256 * 64 * 4  # of 8 heads
    assert held[8] == pytest.approx(keys_and_values, rel=0.1)
    assert held[2] == pytest.approx(keys_and_values / 4, rel=0.1)


def test_more_tokens_than_the_context_are_refused():
    with pytest.raises(InputError, match="a sequence of 8 tokens does not fit max_seq_len=7"):
        Llama(**SMALL)(draw_tokens(1, 8))


# Seeds and initial weights


def test_the_seed_decides_the_weights_and_dropout():
    first, again, other = (Llama(**SMALL, dropout=0.3, seed=seed) for seed in (1, 1, 2))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert "norm" in name or (a.data != c.data).any()
    np.testing.assert_array_equal(first(draw_tokens(2, 6)).data, again(draw_tokens(2, 6)).data)


def test_initial_weights_are_small_and_it_learns():
    model = Llama(vocab_size=65, d_model=64, num_heads=4, num_kv_heads=2, d_ff=96, max_seq_len=16)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter.data == 1.0).all()
        else:
            assert parameter.data.std() == pytest.approx(0.02, rel=0.1), name
    optimizer, tokens, losses = optim.AdamW(model.parameters(), lr=1e-2), draw_tokens(4, 16), []
    for _ in range(30):
        loss = loss_of(model, tokens, (tokens * 7) % 65)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(65), abs=0.1)
    assert losses[-1] < 0.5


# Names on disk, heads, settings


@both_ties
def test_names_and_keys_are_those_of_hugging_face(tied, tmp_path):
    model = Llama(**SMALL, tie_embeddings=tied)
    save_model(model, tmp_path)
    layer = [
        *(f"self_attn.{part}_proj" for part in "qkvo"),
        *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
        *("input_layernorm", "post_attention_layernorm"),
    ]
    names = {f"model.layers.{n}.{part}.weight" for n in range(2) for part in layer}
    names |= {"model.embed_tokens.weight", "model.norm.weight", *([] if tied else ["lm_head.weight"])}
    assert load_file(tmp_path / "model.safetensors").keys() == names
    keys = json.loads((tmp_path / "config.json").read_text())
    assert keys["architectures"] == ["LlamaForCausalLM"]
    assert keys["model_type"] == "llama"
    assert (keys["num_key_value_heads"], keys["intermediate_size"], keys["tie_word_embeddings"]) == (2, 12, tied)
    assert load_model(tmp_path).config == model.config


@pytest.mark.parametrize("task", ["classify", "tag", "qa"])
def test_heads_fit_and_leave_no_output_layer_behind(task, tmp_path):
    settings = {} if task == "qa" else {"labels": 3}
    model = build_model(LlamaConfig(**SMALL), task, **settings).eval()
    tokens, mask = draw_tokens(2, 6), np.arange(6) < np.array([[6], [4]])
    save_model(model, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in saved
    assert ("qa_outputs.weight" if task == "qa" else "score.weight") in saved
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(loaded(tokens, mask).data, model(tokens, mask).data)
    alone = model(tokens[1:, :4]).data[0]
    real = loaded(tokens, mask).data[1]
    real = real if task == "classify" else real[..., :4] if task == "qa" else real[:4]
    np.testing.assert_allclose(real, alone, atol=1e-6)


def test_a_head_for_texts_can_be_put_on_a_language_model():
    language_model = Llama(**SMALL)
    model = SequenceClassifier(language_model.backbone, ["a", "b"], pooling="first")
    assert to_disk(model)["architectures"] == ["LlamaForSequenceClassification"]
    assert {names_of(model).to_disk(name) for name in ("head.weight", "backbone.norm.weight")} == {
        *("score.weight", "model.norm.weight")
    }
    assert model(draw_tokens(2, 6)).shape == (2, 2)
    with pytest.raises(InputError, match="has no output layer any more"):
        language_model(draw_tokens(2, 6))


def test_the_config_survives_the_way_to_disk_and_back():
    config = LlamaConfig(**SMALL, head_dim=6, rope_theta=500.0, rms_norm_eps=1e-5, tie_embeddings=True, dropout=0.1)
    assert LlamaConfig.from_disk(json.loads(json.dumps(config.to_disk()))) == config
    plain = LlamaConfig(vocab_size=11, d_ff=12)
    assert LlamaConfig.from_disk(json.loads(json.dumps(plain.to_disk()))) == plain
    keys = {k: v for k, v in plain.to_disk().items() if k not in ("rope_theta", "rope_parameters")}
    for rope in ({"rope_theta": 500.0}, {"rope_theta": 500.0, "rope_type": "default"}):
        assert LlamaConfig.from_disk(keys | {"rope_parameters": rope}).rope_theta == 500.0


def test_stretched_positions_are_read_from_newer_and_older_files_and_written_for_both():
    stretched = LlamaConfig(
        **SMALL, rope_theta=500.0, rope_scaling=RopeScaling(rope_type="llama3", factor=8.0, original_max_seq_len=4)
    )
    keys = json.loads(json.dumps(stretched.to_disk()))
    assert keys["rope_parameters"] == keys["rope_scaling"] == LLAMA3 | {"rope_theta": 500.0}
    older = {name: value for name, value in keys.items() if name != "rope_parameters"} | {"rope_scaling": LLAMA3}
    newer = {name: value for name, value in keys.items() if name not in ("rope_scaling", "rope_theta")}
    for given in (keys, older, newer):
        assert LlamaConfig.from_disk(given) == stretched
    oldest = LlamaConfig(**SMALL).to_disk() | {"rope_scaling": {"type": "linear", "factor": 2}}
    assert LlamaConfig.from_disk(oldest).rope_scaling == RopeScaling(rope_type="linear", factor=2)


def test_llama_3_divides_slow_frequencies_and_leaves_fast_ones():
    scaling = RopeScaling(rope_type="llama3", factor=8.0, original_max_seq_len=8192)
    turns = 2 * np.pi / 8192  # the frequency of one turn over the original context
    assert [scaling.apply(n * turns) / turns for n in (0.5, 1.0, 4.0, 100.0)] == pytest.approx([1 / 16, 1 / 8, 4, 100])
    assert scaling.apply(2.5 * turns) / turns == pytest.approx(0.5 * 2.5 + 0.5 * 2.5 / 8)
    assert RopeScaling(factor=4.0).apply(0.2) == 0.05


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"rope_scaling": {"factor": 8.0}},
            "rope_scaling has factor=8.0, which is not supported with rope_type='default'",
        ),
        ({"rope_scaling": {"type": "yarn"}}, "rope_type='yarn', supported are default, linear, llama3"),
        ({"rope_parameters": {"rope_type": [3]}}, r"rope_type=\[3\], supported are"),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 8}},
            "lacks low_freq_factor, high_freq_factor, original_max",
        ),
        ({"rope_parameters": {"rope_type": "linear", "factor": -2}}, "factor must be a number above 0, got -2"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0.5}}, "by a factor of at least 1, got 0.5"),
        ({"rope_theta": 10**400, "rope_parameters": None}, "rope_theta must be a number above 0, got 1000"),
        ({"rope_parameters": {"rope_type": "linear", "factor": "2"}}, "factor must be a number above 0, got '2'"),
        ({"rope_parameters": LLAMA3 | {"low_freq_factor": 4.0}}, "low_freq_factor must be below high_freq_factor"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor=0.5, which is not supported"),
        ({"rope_parameters": [3]}, r"rope_parameters must be a table of rotary positions, got \[3\]"),
        ({"rope_theta": 0}, "rope_theta=0, but rope_parameters has rope_theta=10000.0"),
        ({"rope_parameters": {"rope_theta": float("inf")}, "rope_theta": None}, "rope_theta must be a number above 0"),
        ({"num_hidden_layers": 1 << 30}, r"num_layers must be a positive whole number below 2\*\*14"),
        ({"hidden_size": True}, "d_model must be a positive whole number"),
        ({"attention_bias": True}, "attention_bias=True is not supported"),
        ({"num_key_value_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ({"head_dim": 3}, "rotary positions need heads of an even width, got 3"),
        ({"rms_norm_eps": "x"}, "rms_norm_eps must be a number above 0"),
        ({"tie_word_embeddings": 1}, "tie_embeddings must be true or false, got 1"),
        ({"hidden_act": "mish"}, "unknown activation 'mish'"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused(keys, message):
    with pytest.raises(InputError, match=message):
        LlamaConfig.from_disk(LlamaConfig(**SMALL).to_disk() | keys)


def test_settings_come_as_a_config_or_as_keywords():
    assert Llama(LlamaConfig(**SMALL)).config == Llama(**SMALL).config
    with pytest.raises(InputError, match="not both; got a config and d_model"):
        Llama(LlamaConfig(**SMALL), d_model=8)
    with pytest.raises(InputError, match="unknown setting d_modle"):
        Llama(vocab_size=9, d_modle=8)
    fields = {field.name for field in dataclasses.fields(LlamaConfig)}
    assert set(typing.get_type_hints(LlamaSettings)) == {"max_len", *fields}
