"""What is asked of the registry: which architecture fits a task, what settings there are, how a model is loaded."""

import dataclasses
import json
import typing

import numpy as np
import pytest

from numformer import GPT, InputError, ModelConfig, Transformer, random
from numformer.models import Bert, BertConfig, GPTConfig, TransformerConfig, build_model
from numformer.models.build import task_of, tasks_of
from numformer.models.gpt import GPTSettings
from numformer.models.registry import ARCHITECTURES, architecture_of
from numformer.models.transformer import TransformerSettings
from numformer.pretrained import load_model, read_safetensors, save_model

SMALL = {"d_model": 8, "num_heads": 2, "d_ff": 12, "dropout": 0.0}
GENERAL = ModelConfig(vocab_size=11, **SMALL, num_layers=2, max_len=7)
WORDS = {
    "lm": ("GPT", "lm"),
    "text-generation": ("GPT", "lm"),
    "mlm": ("MaskedLM", "mlm"),
    "fill-mask": ("MaskedLM", "mlm"),
    "classify": ("SequenceClassifier", "classify"),
    "classification": ("SequenceClassifier", "classify"),
    "text-classification": ("SequenceClassifier", "classify"),
    "tag": ("TokenClassifier", "tag"),
    "sequence_labeling": ("TokenClassifier", "tag"),
    "qa": ("SpanClassifier", "qa"),
    "question_answering": ("SpanClassifier", "qa"),
    "seq2seq": ("Transformer", "seq2seq"),
    "generation": ("Transformer", "seq2seq"),
    "summarise": ("Transformer", "seq2seq"),
    "translation": ("Transformer", "seq2seq"),
}
TOKENS = np.array([[1, 2, 4, 5], [4, 4, 0, 8]])


# A shape without an architecture


@pytest.mark.parametrize(("word", "expected"), WORDS.items())
def test_a_general_config_takes_the_architecture_that_fits_the_task(word, expected):
    model = build_model(GENERAL, word)
    assert (type(model).__name__, task_of(model)) == expected
    config = model.config
    assert (config.d_model, config.num_heads, config.d_ff, config.max_seq_len, config.dropout) == (8, 2, 12, 7, 0.0)
    if word in ("seq2seq", "generation", "summarise", "translation"):
        assert (config.src_vocab_size, config.tgt_vocab_size) == (11, 11)
        assert (config.num_encoder_layers, config.num_decoder_layers) == (2, 2)
        assert model(TOKENS, TOKENS).shape == (2, 4, 11)
    else:
        assert (config.vocab_size, config.num_layers) == (11, 2)
        assert model(TOKENS).shape[0] == 2


def test_encoders_are_chosen_for_what_is_read_both_ways():
    for task in ("classify", "tag", "qa", "mlm"):
        assert isinstance(build_model(GENERAL, task).config, BertConfig)
    assert isinstance(build_model(GENERAL, "lm").config, GPTConfig)


@pytest.mark.parametrize(
    ("task", "config"), [("lm", GPTConfig), ("classify", BertConfig), ("seq2seq", TransformerConfig)]
)
def test_what_a_general_config_leaves_out_is_as_the_architecture_has_it(task, config):
    sizes = {"src_vocab_size": 9, "tgt_vocab_size": 9} if task == "seq2seq" else {"vocab_size": 9}
    assert build_model(ModelConfig(vocab_size=9), task).config == config(**sizes)


def test_the_number_of_labels_goes_by_its_usual_names():
    for word in ("labels", "num_classes", "num_labels"):
        assert len(build_model(GENERAL, "classification", **{word: 5}).labels) == 5
        assert len(build_model(GENERAL, "sequence_labeling", **{word: 5}).labels) == 5


def test_what_is_no_config_is_refused():
    with pytest.raises(
        InputError, match=r"is built from a ModelConfig, BertConfig, GPTConfig, GPTNeoXConfig, .*, got dict"
    ):
        build_model({"vocab_size": 9}, "lm")


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_an_architecture_says_what_it_does(architecture):
    assert architecture_of(architecture.config()) is architecture
    assert architecture.config.model_type == next(k for k, v in ARCHITECTURES.items() if v is architecture)
    does = set(tasks_of(architecture))
    heads = {"classify", "tag", "qa"}  # that fit every model with a vector per token
    own = {"bert": {"mlm"}, "transformer": {"seq2seq"}}.get(architecture.config.model_type, {"lm"})
    assert does & {"lm", "mlm", "seq2seq"} == own
    assert does & heads == (set() if own == {"seq2seq"} else heads)


# One error for a misspelt setting, one set of defaults


@pytest.mark.parametrize(
    "make",
    [
        lambda: GPT(vocab_size=9, d_modle=8),
        lambda: GPTConfig(d_modle=8),
        lambda: BertConfig(d_modle=8),
        lambda: TransformerConfig(d_modle=8),
        lambda: Transformer(9, d_modle=8),
        lambda: ModelConfig(vocab_size=9, d_modle=8),
        lambda: build_model(GENERAL, "classify", d_modle=8),
        lambda: build_model(GENERAL, "mlm", d_modle=8),
    ],
)
def test_a_misspelt_setting_is_the_same_error_everywhere(make):
    with pytest.raises(InputError, match=r"^unknown setting d_modle; known are .*"):
        make()


@pytest.mark.parametrize(
    "config",
    [
        GPT(vocab_size=9, max_len=5).config,
        GPTConfig(max_len=5),
        BertConfig(max_len=5),
        TransformerConfig(max_len=5),
        Transformer(9, max_len=5).config,
        dataclasses.replace(GPTConfig(), max_seq_len=5),
    ],
)
def test_the_context_length_goes_by_either_name(config):
    assert config.max_seq_len == 5


def test_the_types_of_keywords_are_those_of_the_fields():
    for settings, config in ((GPTSettings, GPTConfig), (TransformerSettings, TransformerConfig)):
        named, fields = typing.get_type_hints(settings), typing.get_type_hints(config)
        for name, kind in named.items():
            assert kind == fields[{"max_len": "max_seq_len"}.get(name, name)], name
    assert set(typing.get_type_hints(GPTSettings)) == {"max_len", *(f.name for f in dataclasses.fields(GPTConfig))}


def test_sizes_that_are_not_given_are_those_of_the_config():
    sizes = {"src_vocab_size": 9, "tgt_vocab_size": 9, "share_embeddings": False}
    assert Transformer(9).config == TransformerConfig(**sizes)
    with pytest.raises(InputError, match="not both; got d_model as well"):
        Transformer(TransformerConfig(**sizes), d_model=64)


# Saving and loading


@pytest.mark.parametrize("pooler", [False, True])
def test_a_backbone_that_needs_a_head_is_saved_and_read_without_one_under_bare_names(tmp_path, pooler):
    model = Bert(BertConfig(vocab_size=9), pooler=pooler)
    save_model(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertModel"]
    loaded = load_model(tmp_path)
    assert type(loaded) is Bert
    assert (loaded.pooler is not None) == pooler
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], value)
    assert "embeddings.word_embeddings.weight" in read_safetensors(tmp_path / "model.safetensors")[0]


def test_a_model_that_needs_a_head_does_no_task_without_one():
    with pytest.raises(InputError, match="a Bert does no task without a head"):
        task_of(Bert(BertConfig(vocab_size=9)))


class Refusing:
    """A generator that gives no numbers."""

    def __getattr__(self, name):
        pytest.fail(f"{name} was drawn")


@pytest.mark.parametrize("task", ["lm", "mlm", "seq2seq", "classify", "tag", "qa"])
def test_loading_draws_nothing(task, tmp_path, monkeypatch):
    settings = {"pooling": "first"} if task == "classify" else {}
    model = build_model(GENERAL, task, **settings)
    save_model(model, tmp_path)
    monkeypatch.setattr(random, "generator", lambda *key: Refusing())
    loaded = load_model(tmp_path)
    for (name, a), b in zip(model.named_parameters(), loaded.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data, err_msg=name)


def test_a_language_model_is_a_backbone_itself():
    model = build_model(GENERAL, "lm")
    assert model.backbone is model
