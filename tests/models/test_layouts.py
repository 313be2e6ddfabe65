"""Names on disk and back."""

import numpy as np
import pytest

from numformer.models import BertConfig, GPTConfig, TransformerConfig, build_model
from numformer.models.disk import names_of
from numformer.models.layouts import Layout

LAYOUT = Layout(
    prefix="model.",
    prefixes={"qa": "old."},
    backbone="""
        table          embed.tokens
        layers.*.attn  h.*.self        [in out]
        layers.*.parts.*.norm  h.*.ln_*
    """,
    heads={"tag": "head classifier", "mlm": "head.dense cls.dense [in out]\nhead.bias cls.bias"},
)
PAIRS = {
    "table.weight": "model.embed.tokens.weight",
    "layers.0.attn.weight": "model.h.0.self.weight",
    "layers.12.attn.bias": "model.h.12.self.bias",
    "layers.3.parts.1.norm.weight": "model.h.3.ln_1.weight",
    "tables.weight": "tables.weight",
    "layers.x.attn.weight": "layers.x.attn.weight",
    "old.table.weight": "old.table.weight",
}
SMALL = {"d_model": 8, "num_heads": 2, "d_ff": 12, "max_seq_len": 7}
MODELS = [
    *((GPTConfig, task) for task in ("lm", "classify", "tag", "qa")),
    *((BertConfig, task) for task in ("mlm", "classify", "tag", "qa")),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS.items())
def test_a_table_renames_both_ways_what_it_holds(ours, theirs):
    names = LAYOUT.names("lm", False)
    assert names.to_disk(ours) == theirs
    assert names.from_disk(theirs) == ours


def test_under_a_head_the_backbone_has_a_name_and_the_head_a_table():
    names = LAYOUT.names("tag", True)
    assert names.to_disk("backbone.layers.0.attn.weight") == "model.h.0.self.weight"
    assert names.from_disk("model.h.0.self.weight") == "backbone.layers.0.attn.weight"
    assert names.to_disk("head.weight") == "classifier.weight"
    assert names.from_disk("classifier.bias") == "head.bias"
    assert LAYOUT.names("mlm", True).from_disk("cls.bias") == "head.bias"
    assert LAYOUT.names("qa", True).to_disk("backbone.table.weight") == "old.embed.tokens.weight"


def test_weights_that_lie_the_other_way_round_are_marked_and_no_biases():
    names = LAYOUT.names("mlm", True)
    assert names.is_transposed("backbone.layers.0.attn.weight")
    assert names.is_transposed("head.dense.weight")
    for name in ("backbone.layers.0.attn.bias", "backbone.table.weight", "head.bias", "other.weight"):
        assert not names.is_transposed(name)


@pytest.mark.parametrize(("config", "task"), MODELS)
def test_every_parameter_has_a_name_of_its_own_on_disk_and_comes_back(config, task):
    model = build_model(config(**SMALL, vocab_size=11), task)
    names, ours = names_of(model), [name for name, _ in model.named_parameters()]
    theirs = [names.to_disk(name) for name in ours]
    assert len(set(theirs)) == len(ours)
    assert not set(theirs) & set(ours)
    assert [names.from_disk(name) for name in theirs] == ours


def test_the_encoder_decoder_has_the_same_names_on_disk():
    model = build_model(TransformerConfig(**SMALL, src_vocab_size=9, tgt_vocab_size=9), "seq2seq")
    for name, parameter in model.named_parameters():
        assert names_of(model).to_disk(name) == names_of(model).from_disk(name) == name
        assert not names_of(model).is_transposed(name)
        assert parameter.data.dtype == np.float32
