"""The examples that a model gets wrong, from Python: `evaluate(data, errors="wrong.jsonl")`."""

import json
import re

import numpy as np
import pytest

from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.errors import InputError
from numformer.tasks import Classifier, QuestionAnswerer, Regressor, Tagger, Translator

TINY = {"d_model": 8, "num_heads": 2}
LAYER = {"num_layers": 1, "vocab_size": 100}


def errors_of(task, data, path):
    task.evaluate(data, errors=path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(re.fullmatch(r"example \d", row.pop("place")) for row in rows)
    return rows


def test_mistakes_say_where_they_stand_in_the_file_and_in_a_list(tmp_path, monkeypatch):
    task = Classifier.from_data([("a", "good"), ("b", "bad")] * 8, **TINY, **LAYER)
    monkeypatch.setattr(task, "_probabilities", lambda texts, progress: [np.array([0.9, 0.1])] * len(texts))
    (tmp_path / "new.csv").write_text("text,label\na,bad\n,bad\nb,good\n")
    for data, place in ((tmp_path / "new.csv", "line 4"), ([("a", "bad"), ("b", "good")], "example 1")):
        task.evaluate(data, errors=tmp_path / "wrong.jsonl")
        (row,) = map(json.loads, (tmp_path / "wrong.jsonl").read_text().splitlines())
        assert (row["place"], row["text"]) == (place, "b")


def test_texts_with_a_wrong_label_come_surest_first(tmp_path, monkeypatch):
    task = Classifier.from_data([("a", "good"), ("b", "bad")] * 8, **TINY, **LAYER)
    assert task.model.labels == ["bad", "good"]
    chances = [np.array(row) for row in ([0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7])]
    monkeypatch.setattr(task, "_probabilities", lambda texts, progress: chances)
    data = [("a", "bad"), ("b", "good"), ("c", "good"), ("d", "bad")]
    assert errors_of(task, data, tmp_path / "wrong.jsonl") == [
        {"text": "b", "gold": "good", "predicted": "bad", "score": 0.9},
        {"text": "d", "gold": "bad", "predicted": "good", "score": 0.7},
        {"text": "a", "gold": "bad", "predicted": "good", "score": 0.6},
    ]


def test_numbers_come_with_the_largest_difference_first(tmp_path, monkeypatch, capsys):
    task = Regressor.from_data([("a", 1.0), ("b", 2.0)] * 8, **TINY, **LAYER)
    monkeypatch.setattr(task, "predict", lambda texts, progress: [{"text": t, "value": 2.0} for t in texts])
    assert errors_of(task, [("a", 1.5), ("b", 4), ("c", -1)], tmp_path / "wrong.jsonl") == [
        {"text": "c", "gold": -1.0, "predicted": 2.0, "difference": 3.0},
        {"text": "b", "gold": 4.0, "predicted": 2.0, "difference": 2.0},
        {"text": "a", "gold": 1.5, "predicted": 2.0, "difference": 0.5},
    ]
    assert capsys.readouterr().err.endswith("wrong.jsonl: 3 examples, by difference\n")


def test_words_with_a_wrong_tag_come_with_their_sentences(tmp_path, monkeypatch):
    data = [TaggedSentence(["Ann", "sat"], ["N", "V"]), TaggedSentence(["go"], ["V"])] * 8
    task = Tagger.from_data(data, **TINY, **LAYER)
    assert task.model.labels == ["N", "V"]
    chances = [np.array([[0.4, 0.6], [0.1, 0.9]]), np.array([[0.7, 0.3]])]
    monkeypatch.setattr(task, "_probabilities", lambda sentences, progress: chances)
    assert errors_of(task, data[:2], tmp_path / "wrong.jsonl") == [
        {"text": "go", "word": "go", "number": 0, "gold": "V", "predicted": "N", "score": 0.7},
        {"text": "Ann sat", "word": "Ann", "number": 0, "gold": "N", "predicted": "V", "score": 0.6},
    ]


def test_targets_that_are_not_the_same_come_with_their_sources(tmp_path, monkeypatch):
    task = Translator.from_data([("a b", "b a"), ("b a", "a b")] * 8, tokenizer="characters", **TINY)
    found = [("right", -0.1), ("wrong", -0.9), ("also wrong", -0.2)]
    monkeypatch.setattr(
        task,
        "predict",
        lambda texts, **settings: [
            {"source": text, "target": target, "score": score}
            for text, (target, score) in zip(texts, found, strict=True)
        ],
    )
    data = [("a", "right "), ("b", "b"), ("b a", "a")]
    assert errors_of(task, data, tmp_path / "wrong.jsonl") == [
        {"source": "b a", "gold": "a", "predicted": "also wrong", "score": -0.2},
        {"source": "b", "gold": "b", "predicted": "wrong", "score": -0.9},
    ]


def test_answers_that_match_none_come_with_all_right_ones(tmp_path, monkeypatch):
    context = "Ann Lee saw Bob."
    questions = [
        Question("1", "Who?", context, (("Ann", 0), ("Ann Lee", 0), ("Ann", 0))),
        Question("2", "Whom?", context, (("Bob", 12),)),
        Question("3", "Why?", context, (), True),
    ]
    task = QuestionAnswerer.from_data(questions[:2] * 8, **TINY, **LAYER, max_seq_len=32, valid_fraction=0.0)
    answers = [("Lee", 0.5), ("the Bob", 0.7), ("saw", 0.9)]
    monkeypatch.setattr(
        task, "predict", lambda asked, progress: [{"answer": text, "score": score} for text, score in answers]
    )
    assert errors_of(task, questions, tmp_path / "wrong.jsonl") == [
        {"question": "Why?", "context": context, "gold": "", "predicted": "saw", "score": 0.9},
        {"question": "Who?", "context": context, "gold": "Ann | Ann Lee", "predicted": "Lee", "score": 0.5},
    ]


def test_a_wrong_name_of_the_file_is_refused_before_any_work(monkeypatch):
    task = Classifier.from_data([("a", "good"), ("b", "bad")] * 8, **TINY, **LAYER)
    monkeypatch.setattr(task, "_probabilities", lambda texts, progress: pytest.fail("it has begun to predict"))
    with pytest.raises(InputError, match=r"a table is written to a \.csv, \.tsv or \.jsonl file, got wrong\.txt"):
        task.evaluate([("a", "good")], errors="wrong.txt")
