"""What a tagger is trained on, and what it is measured by, in training as in `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numformer.data.tagged.conll import TaggedSentence
from numformer.data.tagged.tag_schemes import mark_entities
from numformer.metrics import entity_scores
from numformer.models import TokenClassifier
from numformer.ops.loss import IGNORE
from numformer.tasks.shared.encoding import pad_id, padded
from numformer.tasks.shared.objective import Batch, ExamplesObjective, spread
from numformer.tasks.tagging.words import pieces_of, tokens_of, word_probabilities
from numformer.tokenizers import Tokenizer
from numformer.training import TrainConfig
from numformer.training.workers import Workers

Piece = tuple[np.ndarray, np.ndarray]  # the tokens of a sentence, or of a part of it, and their targets


def encode_sentences(
    tokenizer: Tokenizer, sentences: Sequence[TaggedSentence], labels: Sequence[str], max_seq_len: int
) -> list[Piece]:
    """Return the tokens of all sentences in pieces that fit the context; the target of a word stands at its first token."""
    numbers, pieces = {label: number for number, label in enumerate(labels)}, list[Piece]()
    for sentence in sentences:
        tokens, first = tokens_of(tokenizer, sentence.words)
        targets = np.full(len(tokens), IGNORE)
        targets[first[first >= 0]] = [numbers[tag] for tag, at in zip(sentence.tags, first, strict=True) if at >= 0]
        parts = (pieces_of(tokenizer, tokens, max_seq_len), pieces_of(tokenizer, targets, max_seq_len, IGNORE))
        pieces += zip(*parts, strict=True)
    return pieces


class TagObjective(ExamplesObjective):
    """Tokens, and the number of the tag where a word begins; what is held out are whole sentences.

    The best are those of the highest F1 where tags mark entities, and of the highest accuracy where they do not.
    """

    unit = "words"

    def __init__(
        self,
        model: TokenClassifier,
        tokenizer: Tokenizer,
        sentences: Sequence[TaggedSentence],
        valid: Sequence[TaggedSentence],
        train: TrainConfig,
    ) -> None:
        pieces = encode_sentences(tokenizer, sentences, model.labels, model.config.max_seq_len)
        super().__init__(model, tokenizer, pieces, valid, train)
        self.measured = spread(valid, train.eval_examples)
        self.encoded = [tokens_of(tokenizer, sentence.words) for sentence in self.measured]
        if mark_entities(model.labels):
            self.criterion, self.figures = "f1", ("loss", "accuracy", "f1")
        else:
            self.criterion, self.figures = "accuracy", ("loss", "accuracy")

    @property
    def fills(self) -> tuple[int, ...]:
        """What fills up tokens, their mask and tags."""
        return pad_id(self.tokenizer), False, IGNORE

    def collate(self, examples: Sequence[Piece]) -> Batch:
        """Return tokens [B T] (or features [B T C]), their mask and tags [B T]."""
        tokens, mask = padded([ids for ids, _ in examples], pad_id(self.tokenizer))
        return tokens, mask, padded([tags for _, tags in examples], IGNORE)[0]

    def evaluate(self, workers: Workers) -> dict[str, float] | None:
        """Return the figures of held-out sentences, each of which is put together again from its pieces."""
        if not any(sentence.words for sentence in self.measured):
            return None
        found = word_probabilities(self.model, self.tokenizer, self.encoded, workers=workers)
        scores = tag_scores(found, self.measured, self.model.labels)
        return {name: scores[name] for name in self.figures}


def tag_scores(
    found: Sequence[np.ndarray], sentences: Sequence[TaggedSentence], labels: Sequence[str]
) -> dict[str, Any]:
    """Return what sentences are measured by, from the probabilities [words C] of each.

    The loss is the mean over the words whose tags are among the labels, the other scores are over all words. Where labels
    mark entities, there are precision, recall and F1 of whole entities too.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    predicted = [[labels[number] for number in rows.argmax(axis=-1)] for rows in found]
    gold = [sentence.tags for sentence in sentences]
    pairs = [pair for rows, tags in zip(found, gold, strict=True) for pair in zip(rows, tags, strict=True)]
    chances = [row[numbers[tag]] for row, tag in pairs if tag in numbers]
    correct = sum(p == g for ours, tags in zip(predicted, gold, strict=True) for p, g in zip(ours, tags, strict=True))
    scores = {
        "loss": float(-np.log(np.maximum(chances, 1e-45)).sum()) / (len(chances) or 1),
        "accuracy": correct / len(pairs),
        "sentences": len(sentences),
        "words": len(pairs),
    }
    return scores | entity_scores(predicted, gold) if mark_entities(labels) else scores
