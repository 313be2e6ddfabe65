"""Sequence labelling: a tag for every word of a sentence, such as its part of speech or the entity it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NotRequired, Self, TypedDict, Unpack

import numpy as np

from numformer._notices import few, say_share
from numformer.data.tables.writer import check_table
from numformer.data.tagged.conll import TaggedSentence
from numformer.data.tagged.tag_schemes import mark_entities
from numformer.errors import InputError
from numformer.metrics import entities
from numformer.models import BertConfig, TokenClassifier
from numformer.tasks.shared.attention import Sequences, token_labels
from numformer.tasks.shared.encoding import say_cut
from numformer.tasks.shared.example_task import Data, ExampleTask
from numformer.tasks.shared.mistakes import MistakeOptions
from numformer.tasks.shared.prediction import as_list
from numformer.tasks.shared.start import backbone_of
from numformer.tasks.shared.unknown_labels import say_unknown
from numformer.tasks.tagging.format import TagConfig, TaggedFormat, TagSettings
from numformer.tasks.tagging.mistakes import write_wrong_words
from numformer.tasks.tagging.objective import TagObjective, tag_scores
from numformer.tasks.tagging.words import Words, tokens_of, word_probabilities, words_of
from numformer.tokenizers import Tokenizer
from numformer.training import OptimConfig, TrainConfig


class Entity(TypedDict):
    """Words that tags put together: numbers `start` to `end` of the sentence, characters `start_char` to `end_char` of it."""

    type: str
    text: str
    start: int
    end: int
    start_char: int
    end_char: int


class TagPrediction(TypedDict):
    """The words of a sentence, their tags, the tags' probabilities, and the entities where tags name such."""

    words: list[str]
    tags: list[str]
    scores: list[float]
    entities: NotRequired[list[Entity]]


class Tagger(ExampleTask):
    """A model that tags words: `Tagger.from_data("train.conllu").fit()`, then `predict(["A cat sat ."])`.

    An example is a TaggedSentence. A sentence longer than the context is tagged piece by piece.
    """

    name = "tag"
    format = TaggedFormat()
    model_class = TokenClassifier
    data_config = TagConfig
    model_config = BertConfig()
    train_config: ClassVar[TrainConfig] = TrainConfig(steps=3000, eval_every=250)
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=200)
    evaluate_options = MistakeOptions
    reading = ("encoding", "column", "word_column")
    columns = ("words", "tags", "entities")
    takes_words = True

    model: TokenClassifier
    tokenizer: Tokenizer
    config: TagConfig

    @classmethod
    def from_data(
        cls,
        data: Data[TaggedSentence],
        *,
        valid: Data[TaggedSentence] | None = None,
        config: TagConfig | None = None,
        model: BertConfig | None = None,
        tokenizer: str | Path | Tokenizer | None = None,
        seed: int = 0,
        **settings: Unpack[TagSettings],
    ) -> Self:
        """Make an untrained tagger for a file, or a list of sentences.

        `settings` are fields of TagConfig (such as column, vocab_size, pretrained) and of BertConfig (such as d_model),
        unless `config` and `model` give those whole. `tokenizer` is a kind, a folder, or an object.
        Raises InputError when the data is missing, malformed or too little.
        """
        return cls._from_data(data, valid, config, model, tokenizer, seed, settings)

    @classmethod
    def build(
        cls,
        config: TagConfig,
        model: BertConfig,
        base: Any,
        examples: Sequence[TaggedSentence],
        labels: list[str],
        seed: int,
    ) -> TokenClassifier:
        """Return a tagger for the tags; one that knows them all already goes on as it is."""
        if isinstance(base, TokenClassifier) and set(labels) <= set(base.labels):
            return base
        backbone = backbone_of(config, model, seed, base)
        return TokenClassifier(backbone, labels, seed=seed)

    def objective(self, train: TrainConfig) -> TagObjective:
        """Return what to train on; says which held-out tags the model does not know."""
        self._say_unknown(self.valid_data)
        return TagObjective(self.model, self.tokenizer, self._needs_data(), self.valid_data, train)

    def predict(self, sentences: Sequence[str | Sequence[str]], *, progress: bool = False) -> list[TagPrediction]:
        """Return for every sentence (a text, or its words) the words, their tags and the tags' probabilities.

        Tags that mark entities are also put together: type, text, the range of words, and that of characters in the text,
        or in the words with a space between. One sentence as words is a list in the list, `[["A", "cat"]]`; of several
        texts that are one word each it is said that each is a sentence.
        """
        sentences = as_list(sentences)
        given = [words_of(self.tokenizer, sentence) for sentence in sentences]
        texts = [each for each, sentence in zip(given, sentences, strict=True) if isinstance(sentence, str)]
        if len(texts) == len(given) > 1 and all(len(each.words) == 1 for each in texts):
            what = "of one word each, taken for sentences: the words of one sentence are a list in the list"
            say_share(len(texts), len(texts), "texts", what)
        found = self._probabilities([each.words for each in given], progress)
        results: list[TagPrediction] = []
        for each, rows in zip(given, found, strict=True):
            tags = [self.model.labels[number] for number in rows.argmax(axis=-1)]
            scores = rows.max(axis=-1, initial=0.0).tolist()
            result: TagPrediction = {"words": each.words, "tags": tags, "scores": scores}
            if mark_entities(self.model.labels):
                result["entities"] = _entities_in(each, tags)
            results.append(result)
        return results

    def table_columns(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the columns of words and tags, and of entities where the tags mark such."""
        return self.columns if mark_entities(self.model.labels) else self.columns[:2]

    def blank_prediction(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the prediction of a sentence without words."""
        return dict(self.predict([[]])[0])

    def in_words(self, prediction: Mapping[str, Any]) -> str:
        """Return the entities with their types, or where there are none such the words with their tags."""
        if "entities" in prediction:
            return ", ".join(f"{each['text']} {each['type']}" for each in prediction["entities"]) or "no entities"
        return " ".join(f"{word}/{tag}" for word, tag in zip(prediction["words"], prediction["tags"], strict=True))

    def evaluate(self, data: Data[TaggedSentence] | None = None, *, errors: str | Path | None = None) -> dict[str, Any]:
        """Return loss and accuracy per word, on a file, a list, or the held-out sentences.

        For tags of entities also precision, recall and F1 of whole entities, and under "types" those of each type. A tag
        that the model does not know is said on stderr and counts as wrong; the loss is over the other words. Raises
        InputError when it knows none of the tags. With `errors` writes the words that get a wrong tag into that .csv, .tsv
        or .jsonl file, with their sentences and their numbers there.
        """
        check_table(errors)
        examples = self._examples_of(data)
        if not any(sentence.words for sentence in examples):
            raise InputError("there is no word to evaluate on")
        self._say_unknown(examples)
        found = self._probabilities([sentence.words for sentence in examples], progress=True)
        if errors is not None:
            write_wrong_words(errors, found, examples, self.model.labels)
        return tag_scores(found, examples, self.model.labels)

    @property
    def label_names(self) -> list[str]:
        """The tags in the order of the model's scores."""
        return list(self.model.labels)

    def details(self) -> dict[str, str]:
        """Return the tags."""
        return {"labels": f"{len(self.model.labels)}: {few(self.model.labels)}"} | super().details()

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a sentence."""
        words = words_of(self.tokenizer, text).words
        whole, longest = tokens_of(self.tokenizer, words)[0], self.model.config.max_seq_len
        tokens = whole[:longest]
        if not len(tokens):
            raise InputError("looking at attention takes a sentence with at least one word")
        say_cut(int(len(whole) > longest), 1, "sentences", longest)
        labels = words if hasattr(self.tokenizer, "features") else token_labels(self.tokenizer, " ".join(words))
        return Sequences((tokens[None],), {"": labels[: len(tokens)]})

    def _say_unknown(self, sentences: Sequence[TaggedSentence]) -> None:
        say_unknown("tags", (tag for sentence in sentences for tag in sentence.tags), self.model.labels)

    def _probabilities(self, sentences: Sequence[Sequence[str]], progress: bool) -> list[np.ndarray]:
        encoded = [tokens_of(self.tokenizer, words) for words in sentences]
        return word_probabilities(self.model, self.tokenizer, encoded, progress=progress)


def _entities_in(sentence: Words, tags: Sequence[str]) -> list[Entity]:
    found: list[Entity] = []
    for kind, start, end in entities(tags):
        first, last = sentence.spans[start][0], sentence.spans[end - 1][1]
        place: Entity = {
            "type": kind,
            "text": sentence.text[first:last],
            "start": start,
            "end": end,
            "start_char": first,
            "end_char": last,
        }
        found.append(place)
    return found
