"""The words that a tagger gets wrong, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numformer.data.tagged.conll import TaggedSentence
from numformer.tasks.shared.mistakes import places_of, write_mistakes

COLUMNS = ("place", "text", "word", "number", "gold", "predicted", "score")


def write_wrong_words(
    path: str | Path, found: Sequence[np.ndarray], sentences: Sequence[TaggedSentence], labels: Sequence[str]
) -> None:
    """Write each word whose likeliest tag is another, with its sentence and its number there.

    `found` holds the probabilities [words C] of every sentence.
    """
    write_mistakes(path, COLUMNS, _wrong_words(found, sentences, labels))


def _wrong_words(
    found: Sequence[np.ndarray], sentences: Sequence[TaggedSentence], labels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for place, rows, sentence in zip(places_of(sentences), found, sentences, strict=True):
        for number, (row, word, gold) in enumerate(zip(rows, sentence.words, sentence.tags, strict=True)):
            tag = labels[int(row.argmax())]
            if tag != gold:
                values = (place, " ".join(sentence.words), word, number, gold, tag, float(row.max()))
                yield dict(zip(COLUMNS, values, strict=True))
