"""Sequence labelling: a tag for every word of a sentence, such as its part of speech or the entity it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NotRequired, Self, TypedDict, Unpack

import numpy as np

from numformer import ops
from numformer.data.conll import TaggedSentence, read_conll
from numformer.data.examples import Examples
from numformer.data.table_writer import check_table
from numformer.errors import InputError
from numformer.metrics import entities, entity_scores
from numformer.models import BertConfig, TokenClassifier
from numformer.tasks.shared.attention import Sequences, token_labels
from numformer.tasks.shared.encoding import encode_spans, pad_id, padded
from numformer.tasks.shared.example_task import Data, ExampleTask
from numformer.tasks.shared.format import DataConfig, Format, counted
from numformer.tasks.shared.mistakes import MistakeOptions, write_mistakes
from numformer.tasks.shared.objective import IGNORE, Batch, ExamplesObjective
from numformer.tasks.shared.prediction import as_list, few, run_batches, values
from numformer.tasks.shared.settings import DataSettings, EncoderSettings
from numformer.tasks.shared.start import backbone_of
from numformer.tokenizers import Tokenizer, WordTokenizer, make_tokenizer
from numformer.training import OptimConfig, TrainConfig

WRONG_WORD = ("text", "word", "number", "gold", "predicted", "score")  # the columns of a table of wrong tags


@dataclass(frozen=True, kw_only=True)
class TagConfig(DataConfig):
    """Sentences with a tag for every word: a file with columns (CoNLL-2003, CoNLL-U), blank lines between sentences."""

    column: str | int = "auto"
    """Column of the tags: its number from 1, or its name (CoNLL-U: upos, xpos, ner …); the certain one when not given."""
    word_column: str | int = "auto"
    """Column of the words, likewise."""


class TagSettings(DataSettings, EncoderSettings, total=False):
    """What `Tagger.from_data` takes as keywords: the fields of TagConfig and BertConfig."""

    column: str | int
    word_column: str | int


class TaggedFormat(Format[TaggedSentence, TagConfig]):
    """Sentences with a tag for every word."""

    form = "a TaggedSentence with a tag for every word"

    def accepts(self, example: object) -> bool:
        """Tell whether an example is a sentence with a tag for every word."""
        return isinstance(example, TaggedSentence) and len(example.words) == len(example.tags)

    def read(self, path: str, config: TagConfig) -> Examples[TaggedSentence]:
        """Return the sentences of a file."""
        return read_conll(
            path,
            column=config.column,
            word_column=config.word_column,
            encoding=config.encoding,
            skip_bad=config.skip_bad,
        )

    def describe(self, examples: Sequence[TaggedSentence]) -> str:
        """Return the number of words, and the tags with their counts."""
        words = sum(len(sentence.words) for sentence in examples)
        return f"{words:,} words, {counted('tags', (tag for sentence in examples for tag in sentence.tags))}"

    def labels(self, examples: Sequence[TaggedSentence]) -> list[str]:
        """Return the tags that occur, in order."""
        return sorted({tag for sentence in examples for tag in sentence.tags})

    def groups(self, examples: Sequence[TaggedSentence]) -> list[tuple[str, ...]]:
        """Keep equal sentences on one side."""
        return [tuple(sentence.words) for sentence in examples]

    def texts(self, examples: Sequence[TaggedSentence]) -> Iterable[str]:
        """Return the sentences, as text."""
        return (" ".join(sentence.words) for sentence in examples)

    def make_tokenizer(self, config: TagConfig, examples: Sequence[TaggedSentence]) -> Tokenizer:
        """Return the tokenizer that a config names; one for words takes them as the file has them."""
        if config.tokenizer == "words":
            return WordTokenizer.train([sentence.words for sentence in examples], config.vocab_size)
        return make_tokenizer(config.tokenizer, self.texts(examples), config.vocab_size)


class TagObjective(ExamplesObjective):
    """Tokens, and the number of the tag where a word begins."""

    criterion = "accuracy"
    unit = "words"

    def collate(self, examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
        """Return tokens [B T] (or features [B T C]), their mask and tags [B T]."""
        tokens, mask = padded([ids for ids, _ in examples], pad_id(self.tokenizer))
        return tokens, mask, padded([tags for _, tags in examples], IGNORE)[0]


class Entity(TypedDict):
    """A range of words that tags put together."""

    type: str
    text: str
    start: int
    end: int


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
        """Return what to train on."""
        examples, valid = self._encoded(self.needs_data()), self._encoded(self.valid_data)
        return TagObjective(self.model, self.tokenizer, examples, valid, train)

    def predict(self, sentences: Sequence[str | Sequence[str]], *, progress: bool = False) -> list[TagPrediction]:
        """Return for every sentence (a text, or its words) the words, their tags and the tags' probabilities.

        Tags that name entities (BIO) are also put together: type, text, and the range of words.
        """
        sentences = as_list(sentences)
        split = [self._words(sentence) for sentence in sentences]
        found = self._probabilities(split, progress)
        results: list[TagPrediction] = []
        for words, rows in zip(split, found, strict=True):
            tags = [self.model.labels[number] for number in rows.argmax(axis=-1)]
            result: TagPrediction = {"words": words, "tags": tags, "scores": rows.max(axis=-1, initial=0.0).tolist()}
            if _are_entities(self.model.labels):
                result["entities"] = [
                    {"type": kind, "text": " ".join(words[start:end]), "start": start, "end": end}
                    for kind, start, end in entities(tags)
                ]
            results.append(result)
        return results

    def table_columns(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the columns of words and tags, and of entities where the tags name such."""
        return self.columns if _are_entities(self.model.labels) else self.columns[:2]

    def blank_prediction(self) -> dict[str, Any]:
        """Return the prediction of a sentence without words."""
        return dict(self.predict([[]])[0])

    def in_words(self, prediction: Mapping[str, Any]) -> str:
        """Return the entities with their types, or where there are none such the words with their tags."""
        if "entities" in prediction:
            return ", ".join(f"{each['text']} {each['type']}" for each in prediction["entities"]) or "no entities"
        return " ".join(f"{word}/{tag}" for word, tag in zip(prediction["words"], prediction["tags"], strict=True))

    def evaluate(self, data: Data[TaggedSentence] | None = None, *, errors: str | Path | None = None) -> dict[str, Any]:
        """Return loss and accuracy per word, on a file, a list, or the held-out sentences.

        For tags of entities (BIO) also precision, recall and F1 of whole entities. With `errors` writes the words that get a
        wrong tag into that .csv, .tsv or .jsonl file, with their sentences and their numbers there.
        Raises InputError for a tag that the model does not know.
        """
        check_table(errors)
        examples = self.examples_of(data)
        if not any(sentence.words for sentence in examples):
            raise InputError("there is no word to evaluate on")
        numbers = self._numbers(examples)
        found = self._probabilities([sentence.words for sentence in examples], progress=True)
        gold = [[numbers[tag] for tag in sentence.tags] for sentence in examples]
        chances = np.concatenate([rows[np.arange(len(tags)), tags] for rows, tags in zip(found, gold, strict=True)])
        predicted = [[self.model.labels[number] for number in rows.argmax(axis=-1)] for rows in found]
        correct = sum(
            a == b for tags, s in zip(predicted, examples, strict=True) for a, b in zip(tags, s.tags, strict=True)
        )
        if errors is not None:
            surest = [rows.max(axis=-1, initial=0.0).tolist() for rows in found]
            write_mistakes(errors, WRONG_WORD, _wrong_words(examples, predicted, surest))
        scores = {
            "loss": float(-np.log(np.maximum(chances, 1e-45)).mean()),
            "accuracy": correct / len(chances),
            "sentences": len(examples),
            "words": len(chances),
        }
        if _are_entities(self.model.labels):
            scores |= entity_scores(predicted, [list(sentence.tags) for sentence in examples])
        return scores

    def details(self) -> dict[str, str]:
        """Return the tags."""
        return {"labels": few(self.model.labels)}

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a sentence."""
        words = self._words(text)
        tokens = _tokens_of(self.tokenizer, words)[0][: self.model.config.max_seq_len]
        if not len(tokens):
            raise InputError("looking at attention takes a sentence with at least one word")
        labels = words if hasattr(self.tokenizer, "features") else token_labels(self.tokenizer, " ".join(words))
        return Sequences((tokens[None],), {"": labels[: len(tokens)]})

    def _words(self, sentence: str | Sequence[str]) -> list[str]:
        if not isinstance(sentence, str):
            return list(sentence)
        if hasattr(self.tokenizer, "words"):
            return [word for word, _, _ in self.tokenizer.words(sentence)]
        return sentence.split()

    def _numbers(self, sentences: Sequence[TaggedSentence]) -> dict[str, int]:
        numbers = {label: number for number, label in enumerate(self.model.labels)}
        unknown = sorted({tag for sentence in sentences for tag in sentence.tags} - set(numbers))
        if unknown:
            raise InputError(f"the tag {unknown[0]!r} is not among those of the model: {', '.join(self.model.labels)}")
        return numbers

    def _encoded(self, sentences: Sequence[TaggedSentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return tokens and targets of the pieces of all sentences."""
        numbers, longest, examples = self._numbers(sentences), self.model.config.max_seq_len, []
        for sentence in sentences:
            tokens, first = _tokens_of(self.tokenizer, sentence.words)
            targets = np.full(len(tokens), IGNORE)
            targets[first[first >= 0]] = [numbers[tag] for tag, at in zip(sentence.tags, first, strict=True) if at >= 0]
            examples += [(tokens[i : i + longest], targets[i : i + longest]) for i in range(0, len(tokens), longest)]
        return examples

    def _probabilities(self, sentences: Sequence[Sequence[str]], progress: bool) -> list[np.ndarray]:
        """Return the probabilities [words C] of every sentence."""
        encoded, longest = [_tokens_of(self.tokenizer, words) for words in sentences], self.model.config.max_seq_len
        pieces = [tokens[i : i + longest] for tokens, _ in encoded for i in range(0, len(tokens), longest)]

        def work(numbers: list[int]) -> Sequence[np.ndarray]:
            tokens, mask = padded([pieces[number] for number in numbers], pad_id(self.tokenizer))
            rows = ops.softmax(values(self.model(tokens, mask)).astype(np.float64))
            return [row[: len(pieces[number])] for row, number in zip(rows, numbers, strict=True)]

        rest = iter(run_batches(pieces, work, progress))
        results = []
        for tokens, first in encoded:
            rows = [next(rest) for _ in range(0, len(tokens), longest)]
            unseen = np.full((1, len(self.model.labels)), 1.0 / len(self.model.labels))  # of a word without a token: -1
            results.append(np.concatenate([*rows, unseen])[first])
        return results


def _wrong_words(
    examples: Sequence[TaggedSentence], predicted: Sequence[list[str]], scores: Sequence[list[float]]
) -> Iterator[dict[str, Any]]:
    for sentence, tags, chances in zip(examples, predicted, scores, strict=True):
        columns = enumerate(zip(sentence.words, sentence.tags, tags, chances, strict=True))
        for number, (word, gold, tag, chance) in columns:
            if tag != gold:
                row = (" ".join(sentence.words), word, number, gold, tag, chance)
                yield dict(zip(WRONG_WORD, row, strict=True))


def _tokens_of(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of a sentence, and the number of each word's first token (-1 for a word that has none)."""
    if hasattr(tokenizer, "features"):
        return tokenizer.features(words), np.arange(len(words))
    tokens, spans = encode_spans(tokenizer, " ".join(words))
    ends = np.cumsum([len(word) + 1 for word in words])
    first = np.full(len(words), -1)
    word_of = np.searchsorted(ends, spans[:, 0], side="right")
    for number in range(len(tokens) - 1, -1, -1):
        is_text = spans[number, 1] > spans[number, 0] and spans[number, 0] < ends[word_of[number]] - 1
        if is_text:
            first[word_of[number]] = number
    return tokens, first


def _are_entities(labels: Sequence[str]) -> bool:
    """Tell whether tags mark the beginning and the inside of entities."""
    return "O" in labels and len(labels) > 1 and all(label == "O" or label[:2] in ("B-", "I-") for label in labels)
