"""Defaults decide what a program computes, so changing one is a change that a test sees."""

import inspect

import pytest

from numformer import data
from numformer.data.batching.batches import LengthBatches, pad
from numformer.data.files.lines import read_lines
from numformer.data.files.rows import json_rows, parse_json
from numformer.data.pairs.cleaning import clean_pairs, normalise
from numformer.data.pairs.splitting import split_pairs
from numformer.data.tables.reader import read_table
from numformer.data.tables.valued import read_valued

UTF8 = {"encoding": "utf-8"}
READER = UTF8 | {"skip_bad": False}


@pytest.mark.parametrize(
    ("function", "defaults"),
    [
        (
            data.DataLoader,
            {"batch_size": 1, "shuffle": False, "drop_last": False, "seed": 0, "collate_fn": None, "generator": None},
        ),
        (data.PaddingCollate, {"value": 0}),
        (LengthBatches, {"batch_size": None, "batch_tokens": None, "seed": 0}),
        (pad, {"min_length": 1}),
        (split_pairs, {"valid_size": 1000, "test_size": 1000, "seed": 0}),
        (data.make_key_value_questions, {"num_pairs": 8}),
        (data.make_toy_pairs, {"exclude": frozenset()}),
        (data.TokenWindows, {"name": "text"}),
        (data.TokenWindows.sequential, {"max_windows": None}),
        (data.read_pairs, READER | {"source": "source", "target": "target"}),
        (data.read_conll, READER | {"column": "auto", "word_column": "auto"}),
        (data.read_labelled, READER | {"text": (), "label": None, "pair": None}),
        (read_valued, READER | {"text": (), "value": None, "pair": None}),
        (data.read_squad, READER),
        (read_table, UTF8 | {"wanted": ()}),
        (read_lines, UTF8 | {"errors": "strict", "advance": None}),
        (json_rows, UTF8),
        (parse_json, {"first_line": 1}),
        (clean_pairs, {"filters": None}),
        (normalise, {"unicode_form": "NFC"}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_defaults_are_as_they_were(function, defaults):
    parameters = inspect.signature(function).parameters.values()
    assert {p.name: p.default for p in parameters if p.default is not p.empty} == defaults
