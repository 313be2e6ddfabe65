"""Models made from configs, and their way to a folder and back."""

import json
from contextlib import suppress

import numpy as np
import pytest
from safetensors.numpy import load_file

from numformer import GPT, CrossEntropyLoss, InputError, optim
from numformer.models import (
    BertConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    MaskedLM,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
    Transformer,
    TransformerConfig,
    build_model,
)
from numformer.models.disk import from_disk, names_of, to_disk
from numformer.pretrained import load_model, save_model

SMALL = {"d_model": 8, "num_heads": 2, "d_ff": 12, "max_seq_len": 7, "dropout": 0.1}
BERT = BertConfig(**SMALL, vocab_size=11, pad_id=3)
GPT2 = GPTConfig(**SMALL, vocab_size=11)
LLAMA = LlamaConfig(**SMALL, vocab_size=11, num_kv_heads=1)
SHARED = TransformerConfig(**SMALL, src_vocab_size=11, tgt_vocab_size=11, num_encoder_layers=1, num_decoder_layers=2)
SEPARATE = TransformerConfig(
    **SMALL | {"d_ff": None},
    **{"src_vocab_size": 11, "tgt_vocab_size": 9, "num_encoder_layers": 2, "num_decoder_layers": 1, "pad_id": 1},
    **{"share_embeddings": False, "tie_output": False, "positions": "learned", "pre_norm": False},
)
TIED = TransformerConfig(**SMALL, src_vocab_size=11, tgt_vocab_size=9, share_embeddings=False)
UNKNOWN = [
    ((GPT2, "lm", {"lables": 3}), "unknown setting lables; known are none$"),
    ((BERT, "tag", {"lables": 3}), r"unknown setting lables; known are labels; did you mean labels\?$"),
    ((BERT, "mlm", {"labels": 3}), "unknown setting labels; known are none$"),
    ((BERT, "classify", {"pool": "mean"}), r"unknown setting pool; known are labels, pooling; did you mean pooling\?$"),
]
NAMES = {"labels": ["good", "bad", "née"]}
KINDS = {
    "lm": (GPT2, "lm", {}, GPT, "GPT2LMHeadModel"),
    "mlm": (BERT, "mlm", {}, MaskedLM, "BertForMaskedLM"),
    "seq2seq-shared": (SHARED, "seq2seq", {}, Transformer, "TransformerForConditionalGeneration"),
    "seq2seq-tied": (TIED, "seq2seq", {}, Transformer, "TransformerForConditionalGeneration"),
    "seq2seq-separate": (SEPARATE, "seq2seq", {}, Transformer, "TransformerForConditionalGeneration"),
    "bert-mean": (BERT, "classification", NAMES, SequenceClassifier, "MeanBertForSequenceClassification"),
    "bert-first": (
        *(BERT, "classification", NAMES | {"pooling": "first"}),
        *(SequenceClassifier, "BertForSequenceClassification"),
    ),
    "bert-tagging": (BERT, "tagging", NAMES, TokenClassifier, "BertForTokenClassification"),
    "bert-spans": (BERT, "question_answering", {}, SpanClassifier, "BertForQuestionAnswering"),
    "llama-lm": (LLAMA, "lm", {}, Llama, "LlamaForCausalLM"),
    "llama-mean": (LLAMA, "classification", NAMES, SequenceClassifier, "MeanLlamaForSequenceClassification"),
    "llama-tagging": (LLAMA, "tagging", NAMES, TokenClassifier, "LlamaForTokenClassification"),
    "llama-spans": (LLAMA, "question_answering", {}, SpanClassifier, "LlamaForQuestionAnswering"),
    "gpt2-mean": (GPT2, "classification", NAMES, SequenceClassifier, "MeanGPT2ForSequenceClassification"),
    "gpt2-first": (
        *(GPT2, "classification", NAMES | {"pooling": "first"}),
        *(SequenceClassifier, "GPT2ForSequenceClassification"),
    ),
    "gpt2-tagging": (GPT2, "tagging", NAMES, TokenClassifier, "GPT2ForTokenClassification"),
    "gpt2-spans": (GPT2, "question_answering", {}, SpanClassifier, "GPT2ForQuestionAnswering"),
}
EXAMPLES = ["mlm", "bert-first", "gpt2-tagging", "llama-lm", "seq2seq-separate"]
FILES = ("config.json", "model.safetensors")
every_kind = pytest.mark.parametrize("kind", KINDS)


def build(kind, seed=3):
    config, task, settings, _, _ = KINDS[kind]
    return build_model(config, task, seed=seed, **settings)


def run(model):
    tokens = np.array([[1, 2, 4, 5], [4, 4, 0, 8]])
    return model(tokens, tokens) if isinstance(model, Transformer) else model(tokens)


def train(model, steps=2):
    """Train without dropout on whatever targets."""
    optimizer = optim.AdamW(model.eval().parameters(), lr=0.05)
    for _ in range(steps):
        logits = run(model)
        logits = logits.reshape(-1, logits.shape[-1])
        optimizer.zero_grad()
        CrossEntropyLoss()(logits, np.arange(len(logits)) % 2).backward()
        optimizer.step()


# Building


@every_kind
def test_a_config_and_a_task_make_a_model(kind):
    config, _, settings, made, _ = KINDS[kind]
    model = build(kind)
    assert type(model) is made
    assert model.config == config
    assert getattr(model, "labels", None) == settings.get("labels")
    assert run(model).shape[0] == 2


@pytest.mark.parametrize(
    ("config", "tasks"),
    [
        (BERT, ["lm", "seq2seq"]),
        (GPT2, ["mlm", "seq2seq"]),
        (SHARED, ["lm", "mlm", "classification", "tagging", "question_answering"]),
    ],
)
def test_a_task_that_the_architecture_cannot_do_is_refused(config, tasks):
    for task in tasks:
        with pytest.raises(InputError, match=f"a {type(config).__name__} does not fit the task {task}"):
            build_model(config, task)


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="unknown task 'poetry': choose lm, mlm, seq2seq, summarise, classify"):
        build_model(BERT, "poetry")


@pytest.mark.parametrize("task", ["classification", "tagging", "question_answering", "mlm"])
def test_a_vocabulary_that_is_still_to_come_is_refused(task):
    with pytest.raises(InputError, match="needs a vocab_size of at least 1, got 0"):
        build_model(BertConfig(**SMALL), task)


@every_kind
def test_the_seed_decides_the_weights(kind):
    first, again, other = (build(kind, seed).state_dict() for seed in (1, 1, 2))
    assert all(np.array_equal(value, again[name]) for name, value in first.items())
    drawn = [name for name, value in first.items() if value.std() > 0.0]
    assert drawn
    assert all((first[name] != other[name]).any() for name in drawn)


# To a folder and back


@every_kind
def test_a_saved_model_comes_back_whole(kind, tmp_path):
    model = build(kind)
    train(model)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert not loaded.training
    for name in ("labels", "pooling"):
        assert getattr(loaded, name, None) == getattr(model, name, None)
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(state[name], value)
    np.testing.assert_array_equal(run(loaded).data, run(model).data)


@every_kind
def test_saving_what_was_loaded_gives_the_same_bytes(kind, tmp_path):
    save_model(build(kind), tmp_path / "first")
    save_model(load_model(tmp_path / "first"), tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@every_kind
def test_saved_loaded_and_trained_is_as_never_saved(kind, tmp_path):
    model = build(kind)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    for each in (model, loaded):
        train(each)
    untrained = build(kind).state_dict()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], value, err_msg=name)
    assert any((untrained[name] != value).any() for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        ("lm", ("token_embedding", "token_embedding")),
        ("mlm", ("backbone.embeddings.token_embedding", "backbone.embeddings.token_embedding")),
        ("seq2seq-shared", ("src_embedding", "tgt_embedding")),
    ],
)
def test_tied_tables_are_one_array_after_loading_and_training(kind, tables, tmp_path):
    model = build(kind)
    save_model(model, tmp_path)
    saved = {names_of(model).from_disk(name) for name in load_file(tmp_path / "model.safetensors")}
    assert len({f"{table}.weight" for table in tables} & saved) == 1
    loaded = load_model(tmp_path)
    train(loaded)
    modules = dict(loaded.named_modules())
    first, second = (modules[table].weight for table in tables)
    assert first is second
    before = run(loaded).data[..., 7].copy()
    bias = loaded.head.bias.data[7] if kind == "mlm" else 0.0
    first.data[7] *= 2.0  # the texts do not hold it
    np.testing.assert_allclose(run(loaded).data[..., 7] - bias, 2.0 * (before - bias), rtol=1e-4, atol=1e-6)


@every_kind
def test_config_files_name_the_class_and_the_labels_as_hugging_face_does(kind, tmp_path):
    *_, settings, _, architecture = KINDS[kind]
    save_model(build(kind), tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    assert keys["architectures"] == [architecture]
    models = {"B": "bert", "G": "gpt2", "L": "llama", "T": "transformer"}
    assert keys["model_type"] == models[architecture.removeprefix("Mean")[0]]
    if settings:
        assert keys["id2label"] == {"0": "good", "1": "bad", "2": "née"}
        assert keys["label2id"] == {"good": 0, "bad": 1, "née": 2}


def test_one_backbone_saved_under_one_head_after_another_can_always_be_loaded(tmp_path):
    model = build("bert-first")
    for number, make_head in enumerate((TokenClassifier, SpanClassifier, SequenceClassifier, MaskedLM)):
        model = make_head(model.backbone)
        save_model(model, tmp_path / str(number))
        loaded = load_model(tmp_path / str(number))
        np.testing.assert_array_equal(run(loaded).data, run(model.eval()).data)


# Folders by others, and damaged ones


def test_labels_that_a_config_does_not_name_are_two():
    keys = to_disk(build("bert-tagging"))
    del keys["id2label"], keys["label2id"]
    assert from_disk(keys, "here").labels == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize(("kind", "expected"), [("gpt2", "GPT"), ("bert", "MaskedLM")])
@pytest.mark.parametrize("architectures", [None, [], ["Something"], "Something"])
def test_an_unnamed_class_means_the_language_model(kind, expected, architectures):
    keys = to_disk(build("lm" if kind == "gpt2" else "mlm")) | {"architectures": architectures}
    assert type(from_disk(keys, "here")).__name__ == expected


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_config_that_lacks_any_needed_key_is_refused(kind, tmp_path):
    save_model(build(kind), tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    for key in KINDS[kind][0].needed_on_disk:
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in keys.items() if k != key}))
        with pytest.raises(InputError, match=rf"{tmp_path}: config\.json lacks {key}"):
            load_model(tmp_path)


@pytest.mark.parametrize("kind", [*EXAMPLES, "seq2seq-shared", "llama-mean"])
@pytest.mark.parametrize("value", ["x", None, -1, 2.5, [2], {"a": 1}, 10**30], ids=repr)
def test_no_value_in_a_config_ends_in_a_traceback(kind, value, tmp_path):
    save_model(build(kind), tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    for key in keys:
        (tmp_path / "config.json").write_text(json.dumps(keys | {key: value}))
        with suppress(InputError):
            run(load_model(tmp_path))


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        ("mlm", "model_type", "mamba", "model_type is 'mamba', supported are bart, bert, distilbert, gemma2, "),
        ("mlm", "hidden_size", "x", "d_model must be a positive whole number"),
        ("mlm", "num_hidden_layers", 0, "num_layers must be a positive whole number"),
        ("mlm", "pad_token_id", "x", "pad_id must be a whole number, got 'x'"),
        ("bert-first", "hidden_act", "mish", "unknown activation 'mish'"),
        ("bert-tagging", "id2label", {"1": "a", "2": "b"}, "id2label must number the labels from 0"),
        ("bert-tagging", "id2label", ["a", "b"], "id2label must number the labels from 0"),
        ("bert-tagging", "id2label", {}, "at least one label, got none"),
        ("bert-tagging", "id2label", {"0": "a"}, "the weights do not fit TokenClassifier: of the wrong shape"),
        ("seq2seq-shared", "decoder_vocab_size", 12, "share_embeddings needs vocabularies of one size"),
        ("seq2seq-shared", "share_encoder_decoder_embeddings", False, "missing: tgt_embedding.weight"),
        ("seq2seq-shared", "normalize_before", 1, "pre_norm must be true or false, got 1"),
        ("seq2seq-shared", "normalize_before", False, "unexpected: .*encoder.norm"),
        ("seq2seq-shared", "position_embedding_type", "rotary", "unknown positions 'rotary'"),
        ("seq2seq-separate", "tie_word_embeddings", True, "unexpected: output.bias, output.weight"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused(kind, key, value, message, tmp_path):
    save_model(build(kind), tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(keys | {key: value}))
    with pytest.raises(InputError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("asked", "message"), UNKNOWN)
def test_a_setting_that_the_model_does_not_take_is_refused_in_a_sentence(asked, message):
    config, task, settings = asked
    with pytest.raises(InputError, match=message):
        build_model(config, task, **settings)


def test_a_setting_may_be_given_under_a_word_for_it():
    assert len(build_model(BERT, "tag", num_labels=3).labels) == 3
