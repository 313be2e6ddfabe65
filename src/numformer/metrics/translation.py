"""Scores of generated text: BLEU and chrF by sacrebleu (Post, 2018), ROUGE by rouge-score (Lin, 2004)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from numformer.errors import InputError
from numformer.metrics.pairs import check_pairs
from numformer.tokenizers.word_patterns import split_words, unspaced_pattern

ROUGE_TYPES = ["rouge1", "rouge2", "rougeL"]


def bleu(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float | str]:
    """Return the BLEU and chrF of a corpus with one reference each, in per cent, and the signature of the BLEU.

    Texts are given as they are read, untokenized. BLEU counts words as sacrebleu's "13a" does; where most of the references
    is in scripts without spaces, characters: Chinese as its "zh" does, the others as its "char".
    Raises InputError when the lists do not pair up, and when sacrebleu is not installed.
    """
    check_pairs(predictions, references, "references")
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise InputError("BLEU needs the package sacrebleu: pip install 'numformer[scores]'") from error
    metric = BLEU(tokenize=_tokenization(references))
    return {
        "bleu": metric.corpus_score(predictions, [references]).score,
        "chrf": CHRF().corpus_score(predictions, [references]).score,
        "signature": str(metric.get_signature()),
    }


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return the mean F-measures of ROUGE-1, ROUGE-2 and ROUGE-L of stemmed words, in per cent.

    Words are those of rouge-score, of Latin letters and digits alone, and each character of a script without spaces.
    Raises InputError when the lists do not pair up, and when rouge-score is not installed.
    """
    check_pairs(predictions, references, "references")
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise InputError("ROUGE needs the package rouge-score: pip install 'numformer[scores]'") from error
    scorer = RougeScorer(ROUGE_TYPES, tokenizer=_RougeWords())
    scores = [scorer.score(reference, text) for text, reference in zip(predictions, references, strict=True)]
    return {type_: 100.0 * sum(score[type_].fmeasure for score in scores) / len(scores) for type_ in ROUGE_TYPES}


class _RougeWords:
    """The words of rouge-score, stemmed, and besides them the characters of scripts without spaces."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._latin: Any = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        is_alone = re.compile(unspaced_pattern()).fullmatch
        pieces = ([piece] if is_alone(piece) else self._latin.tokenize(piece) for piece in split_words(text))
        return [word for words in pieces for word in words]


def _tokenization(references: Sequence[str]) -> str:
    """Return which of sacrebleu's tokenizations suits the script of most words and characters."""
    words = [word for reference in references for word in split_words(reference)]
    alone = [word for word in words if re.fullmatch(unspaced_pattern(), word)]
    if 2 * len(alone) <= len(words):
        return "13a"
    chinese = sum("\u3400" <= word[0] <= "\u9fff" for word in alone)
    return "zh" if chinese > 0.9 * len(alone) else "char"  # Japanese has Kana too, which "zh" leaves together
