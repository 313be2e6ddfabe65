"""Exact match and F1 of extractive answers, as SQuAD defines them (Rajpurkar et al., 2016 and 2018).

In scripts without spaces the F1 counts characters in the place of words, and the punctuation of Chinese and Japanese goes
as that of English does, much as in MLQA (Lewis et al., 2020).
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from numformer.errors import InputError
from numformer.tokenizers.word_patterns import split_words

ARTICLES = re.compile(r"\b(a|an|the)\b")
PLACES_OF_WIDE = [*range(0x3000, 0x3100), *range(0xFF00, 0xFF66)]  # where Chinese and Japanese punctuation stands
WIDE_PUNCTUATION = "".join(chr(code) for code in PLACES_OF_WIDE if unicodedata.category(chr(code))[0] == "P")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation + WIDE_PUNCTUATION)


def normalise_answer(text: str) -> str:
    """Return the text in lower case, without punctuation (not every script's) and a, an, the, and with single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 when the prediction equals one of the answers after normalising both, else 0.0.

    No answers at all mean that the question has none, and that the empty prediction is right.
    """
    return float(normalise_answer(prediction) in map(normalise_answer, answers or [""]))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Return the highest F1 of the prediction's bag of words with that of an answer, from 0.0 to 1.0.

    Of a script without spaces, each character with its marks is a word.
    A prediction or an answer without a word left matches only another such. No answers are as for `exact_match`.
    """
    bags = [split_words(normalise_answer(text)) for text in (prediction, *(answers or [""]))]
    return max(_bag_f1(bags[0], bag) for bag in bags[1:])


def squad_scores(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the mean exact match and F1 in per cent, and the total of questions; both arguments are by question id.

    A question without a prediction counts 0. Raises InputError when there are no questions.
    """
    if not references:
        raise InputError("there are no questions to score")
    answered = [(predictions[id_], answers) for id_, answers in references.items() if id_ in predictions]
    total = len(references)
    return {
        "exact_match": 100.0 * sum(exact_match(prediction, answers) for prediction, answers in answered) / total,
        "f1": 100.0 * sum(f1(prediction, answers) for prediction, answers in answered) / total,
        "total": total,
    }


def _bag_f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    common = (Counter(predicted) & Counter(gold)).total()
    return 2.0 * common / (len(predicted) + len(gold))
