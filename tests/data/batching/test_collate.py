from collections import namedtuple

import numpy as np
import pytest

from numformer import Tensor
from numformer.data import DataLoader, PaddingCollate, collate
from numformer.errors import InputError

Pair = namedtuple("Pair", "text label")


def alike(got, expected):
    """Compare batches with their structure and dtypes."""
    if isinstance(expected, np.ndarray):
        return got.dtype == expected.dtype and np.array_equal(got, expected)
    if isinstance(expected, dict):
        return type(got) is dict and got.keys() == expected.keys() and all(alike(got[k], expected[k]) for k in expected)
    if isinstance(expected, (tuple, list)) and not all(isinstance(each, str) for each in expected):
        return type(got) is type(expected) and all(alike(*each) for each in zip(got, expected, strict=True))
    return got == expected


def f32(*values):
    return np.array(values, np.float32)


def i64(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("examples", "batch"),
    [
        ([1, 2], i64(1, 2)),
        ([0.5, 1.5], f32(0.5, 1.5)),
        ([1, 0.5], f32(1.0, 0.5)),
        ([True, False], np.array([True, False])),
        (["good", "bad"], ["good", "bad"]),
        ([[1, 2], [3, 4]], i64([1, 2], [3, 4])),
        ([[1.0, 2.0], [3, 4]], f32([1, 2], [3, 4])),
        ([np.ones(2), np.zeros(2)], np.array([[1.0, 1.0], [0.0, 0.0]])),
        ([np.float32(1.5), np.float32(2)], f32(1.5, 2)),
        ([Tensor([1.0]), Tensor([2.0])], f32([1.0], [2.0])),
        ([(f32(1, 2), 0), (f32(3, 4), 1)], (f32([1, 2], [3, 4]), i64(0, 1))),
        ([[f32(1), 0], [f32(2), 1]], [f32([1], [2]), i64(0, 1)]),
        ([Pair("a", 1), Pair("b", 2)], Pair(["a", "b"], i64(1, 2))),
        ([{"x": (1, [2.0])}, {"x": (3, [4.0])}], {"x": (i64(1, 3), f32([2.0], [4.0]))}),
    ],
    ids=str,
)
def test_examples_become_a_batch_of_their_own_structure(examples, batch):
    got = collate(examples)
    assert alike(got, batch), got


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([[1, 2], [3]], r"have the shapes \(2,\), \(1,\): give the DataLoader collate_fn=nf.PaddingCollate\(\)"),
        ([[1], [1, 2], [1, 2, 3]], r"shapes \(1,\), \(2,\), \(3,\): give"),
        ([[0] * n for n in range(9)], r"shapes \(0,\), \(1,\), \(2,\), …: give"),
        ([np.ones((2, 2)), np.ones((2, 3))], r"shapes \(2, 2\), \(2, 3\)"),
        ([(1, 2), (1, 2, 3)], r"same fields, got \(1, 2\), \(1, 2, 3\)"),
        ([(1, 2), 3], r"same fields, got \(1, 2\), 3"),
        ([{"x": 1}, {"y": 1}], r"same keys, got \{'x': 1\}, \{'y': 1\}"),
        ([None, None], "got None: give the DataLoader a collate_fn"),
        pytest.param([np.array([object()])], "a batch is made of numbers", id="objects"),
    ],
    ids=str,
)
def test_what_makes_no_batch_is_said_in_a_sentence(examples, message):
    with pytest.raises(InputError, match=message):
        collate(examples)


def test_rows_are_padded_to_the_longest_with_a_mask_of_what_is_real():
    tokens, mask = PaddingCollate()([[5, 6, 7], [8], []])
    assert alike(tokens, i64([5, 6, 7], [8, 0, 0], [0, 0, 0]))
    assert alike(mask, np.array([[True, True, True], [True, False, False], [False, False, False]]))
    assert mask.sum(1).tolist() == [3, 1, 0]


def test_the_mask_comes_after_the_fields_and_belongs_to_the_first_that_holds_rows():
    labels, tokens, targets, mask = PaddingCollate(value=-1)([(0, [5, 6], [1]), (1, [7], [2, 3])])
    assert labels.tolist() == [0, 1]
    assert tokens.tolist() == [[5, 6], [7, -1]]
    assert targets.tolist() == [[1, -1], [2, 3]]
    assert mask.tolist() == [[True, True], [True, False]]


def test_the_mask_of_a_dict_has_a_key():
    batch = PaddingCollate()([{"ids": f32(1, 2), "label": "a"}, {"ids": f32(3), "label": "b"}])
    assert alike(batch["ids"], f32([1, 2], [3, 0]))
    assert batch["label"] == ["a", "b"]
    assert batch["mask"].tolist() == [[True, True], [True, False]]


def test_rows_of_vectors_are_padded_along_their_first_axis():
    batch, mask = PaddingCollate(0.5)([np.ones((2, 2)), np.zeros((1, 2))])
    assert batch.tolist() == [[[1, 1], [1, 1]], [[0, 0], [0.5, 0.5]]]
    assert mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([1, 2], "there is nothing to pad"),
        ([np.ones((1, 2)), np.ones((1, 3))], "padded along their first axis alone"),
        ([[1, 2], 3], "padded along their first axis alone"),
        ([3, [1, 2]], "padded along their first axis alone"),
        ([{"mask": [1]}, {"mask": [1, 2]}], 'a field "mask"'),
    ],
    ids=str,
)
def test_what_cannot_be_padded_is_said_in_a_sentence(examples, message):
    with pytest.raises(InputError, match=message):
        PaddingCollate()(examples)


def test_a_loader_pads_with_it():
    batches = list(DataLoader([([1, 2], 0), ([3], 1), ([4], 0)], batch_size=2, collate_fn=PaddingCollate()))
    assert [tokens.tolist() for tokens, _, _ in batches] == [[[1, 2], [3, 0]], [[4]]]
