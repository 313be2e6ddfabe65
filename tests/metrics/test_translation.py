import math
import sys

import pytest

from numformer.errors import InputError
from numformer.metrics import bleu, rouge

REFERENCES = ["the cat sat on the mat .", "it rains"]


def test_a_perfect_translation_scores_100():
    pytest.importorskip("sacrebleu")
    scores = bleu(REFERENCES, REFERENCES)
    assert scores["bleu"] == pytest.approx(100.0)
    assert scores["chrf"] == pytest.approx(100.0)


def test_bleu_is_of_the_corpus_with_its_penalty_for_brevity():
    pytest.importorskip("sacrebleu")
    # 6 of 6 words, 4 of 4 pairs, 2 of 2 triples, 1 of 1 fourfold; 6 words where the references have 8
    assert bleu(["the cat sat on", "it rains"], ["the cat sat on the mat", "it rains"])["bleu"] == pytest.approx(
        100.0 * math.exp(1 - 8 / 6)
    )


def test_bleu_splits_punctuation_from_words_as_the_13a_tokenizer_does():
    pytest.importorskip("sacrebleu")
    assert bleu(["the cat sat on the mat."], ["the cat sat on the mat ."])["bleu"] == pytest.approx(100.0)


def test_the_signature_says_how_bleu_was_computed():
    pytest.importorskip("sacrebleu")
    signature = bleu(["a"], ["a"])["signature"]
    assert {"nrefs:1", "case:mixed", "tok:13a", "smooth:exp"} <= set(signature.split("|"))


def test_rouge_is_the_mean_f_measure_of_stemmed_words():
    pytest.importorskip("rouge_score")
    scores = rouge(["the cats sat", "rain"], ["the cat sat down", "sun"])
    assert scores == pytest.approx({"rouge1": 100 * 6 / 7 / 2, "rouge2": 100 * 4 / 5 / 2, "rougeL": 100 * 6 / 7 / 2})


def test_rouge_l_follows_the_order_of_words_and_rouge_1_does_not():
    pytest.importorskip("rouge_score")
    assert rouge(["b a"], ["a b"]) == pytest.approx({"rouge1": 100.0, "rouge2": 0.0, "rougeL": 50.0})


@pytest.mark.parametrize("score", [bleu, rouge])
def test_lists_of_different_length_are_refused(score):
    with pytest.raises(InputError, match="got 1 predictions for 2 references: one for each was expected"):
        score(["a"], ["a", "b"])


@pytest.mark.parametrize("score", [bleu, rouge])
def test_nothing_to_score_is_refused(score):
    with pytest.raises(InputError, match="nothing to score"):
        score([], [])


@pytest.mark.parametrize(
    ("score", "module", "package"),
    [
        (bleu, "sacrebleu.metrics", "sacrebleu"),
        (rouge, "rouge_score.rouge_scorer", "rouge-score"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra(score, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"needs the package {package}: pip install 'numformer\[scores\]'"):
        score(["a"], ["a"])
