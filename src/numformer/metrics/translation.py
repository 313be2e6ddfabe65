"""Scores of generated text: BLEU and chrF by sacrebleu (Post, 2018), ROUGE by rouge-score (Lin, 2004)."""

from __future__ import annotations

from collections.abc import Sequence

from numformer.errors import InputError
from numformer.metrics.pairs import check_pairs

ROUGE_TYPES = ["rouge1", "rouge2", "rougeL"]


def bleu(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float | str]:
    """Return the BLEU and chrF of a corpus with one reference each, in per cent, and the signature of the BLEU.

    Texts are given as they are read, untokenized. Raises InputError when the lists do not pair up, and when sacrebleu
    is not installed.
    """
    check_pairs(predictions, references, "references")
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise InputError("BLEU needs the package sacrebleu: pip install 'numformer[scores]'") from error
    metric = BLEU()
    return {
        "bleu": metric.corpus_score(predictions, [references]).score,
        "chrf": CHRF().corpus_score(predictions, [references]).score,
        "signature": str(metric.get_signature()),
    }


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return the mean F-measures of ROUGE-1, ROUGE-2 and ROUGE-L of stemmed words, in per cent.

    Raises InputError when the lists do not pair up, and when rouge-score is not installed.
    """
    check_pairs(predictions, references, "references")
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise InputError("ROUGE needs the package rouge-score: pip install 'numformer[scores]'") from error
    scorer = RougeScorer(ROUGE_TYPES, use_stemmer=True)
    scores = [scorer.score(reference, text) for text, reference in zip(predictions, references, strict=True)]
    return {type_: 100.0 * sum(score[type_].fmeasure for score in scores) / len(scores) for type_ in ROUGE_TYPES}
