"""Text classification: a text in, one of any number of labels out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, Unpack

import numpy as np

from numformer import ops
from numformer._notices import few
from numformer.data.files.examples import Examples
from numformer.data.tables.columns import Texts
from numformer.data.tables.labelled import LabelledText, read_labelled
from numformer.data.tables.writer import check_table
from numformer.errors import InputError
from numformer.metrics import check_picture, classification_scores, draw_confusion_matrix
from numformer.metrics import confusion_matrix as count_confusions
from numformer.models import BertConfig, SequenceClassifier
from numformer.ops.loss import IGNORE
from numformer.tasks.shared.example_task import Data
from numformer.tasks.shared.format import DataConfig, counted
from numformer.tasks.shared.mistakes import MistakeOptions, places_of, write_mistakes
from numformer.tasks.shared.objective import Batch, ExamplesObjective
from numformer.tasks.shared.prediction import values
from numformer.tasks.shared.settings import DataSettings, EncoderSettings
from numformer.tasks.shared.start import backbone_of
from numformer.tasks.shared.text_pairs import (
    EncodedText,
    TextColumns,
    as_texts_or_pairs,
    collate_texts,
    columns_of,
    encode_texts,
)
from numformer.tasks.shared.texts_format import TextsFormat
from numformer.tasks.shared.texts_task import TextsTask
from numformer.tasks.shared.unknown_labels import say_unknown
from numformer.tokenizers import Tokenizer
from numformer.training import OptimConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(DataConfig):
    """Texts with labels: CSV or TSV with a header, JSONL, a folder with a folder or a file for each label."""

    text: tuple[str, ...] = ()
    """Name of the column or key of the text, or several, which are joined with a space; "text" when not given."""
    pair: str | None = None
    """Name of the column or key of a second text, for pairs of texts; where there is "sentence2" and the like, that."""
    label: str | None = None
    """Name of the column or key of the label; "label", or the other of two columns, when not given."""
    pooling: Literal["mean", "first"] = "mean"
    """What stands for the whole text: the mean of its positions, or the first one (of a GPT, the last)."""
    class_weights: bool = False
    """Weigh every label by the inverse of its frequency, so that rare ones count as much as common ones."""


class ClassifySettings(DataSettings, EncoderSettings, total=False):
    """What `Classifier.from_data` takes as keywords: the fields of ClassifyConfig and BertConfig."""

    text: str | Sequence[str]
    pair: str | None
    label: str | None
    pooling: Literal["mean", "first"]
    class_weights: bool


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(MistakeOptions):
    """What else to make of a measurement."""

    confusion_matrix: Path | None = None
    """Draw the confusion matrix into this PNG file."""


class LabelledFormat(TextsFormat):
    """Texts with one label each."""

    form = "a pair of a text and its label, both str (a text may be a pair of texts)"

    def read(self, path: str, config: ClassifyConfig) -> Examples[LabelledText]:
        """Return the examples of a file or folder."""
        return read_labelled(
            path,
            text=config.text,
            label=config.label,
            pair=config.pair,
            encoding=config.encoding,
            skip_bad=config.skip_bad,
        )

    def describe_answers(self, examples: Sequence[LabelledText]) -> str:
        """Return the labels with their counts."""
        return counted("labels", (label for _, label in examples))

    def is_answer(self, value: object) -> bool:
        """Tell whether a value is a label."""
        return isinstance(value, str)

    def labels(self, examples: Sequence[LabelledText]) -> list[str]:
        """Return the labels that occur, in order."""
        return sorted({label for _, label in examples})


class ClassifyObjective(ExamplesObjective):
    """Tokens and the number of the label."""

    criterion = "accuracy"
    unit = "texts"

    def collate(self, examples: Sequence[tuple[EncodedText, int]]) -> Batch:
        """Return tokens [B T] (or features [B T C]), their mask [B T], segments [B T] of pairs, and labels [B]."""
        inputs = collate_texts(self.tokenizer, [text for text, _ in examples])
        return (*inputs, np.array([label for _, label in examples]))

    def num_scored(self, targets: np.ndarray) -> int:
        """Count the texts, also those whose label the model does not know: it is never right about them."""
        return len(targets)


class LabelPrediction(TextColumns):
    """The likeliest label of a text, or of a pair, its probability, and the probabilities of all labels."""

    label: str
    score: float
    scores: dict[str, float]


class Classifier(TextsTask):
    """A model that gives texts labels: `Classifier.from_data("reviews.csv").fit()`, then `predict(["a good film"])`.

    An example is a pair of a text, or a pair of texts, and its label.
    """

    name = "classify"
    format = LabelledFormat()
    model_class = SequenceClassifier
    data_config = ClassifyConfig
    model_config = BertConfig()
    train_config: ClassVar[TrainConfig] = TrainConfig(steps=1000, eval_every=100)
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=100)
    evaluate_options = EvaluateOptions
    reading = ("encoding", "text", "pair", "label")
    columns = ("label", "score")

    model: SequenceClassifier
    tokenizer: Tokenizer
    config: ClassifyConfig

    @classmethod
    def from_data(
        cls,
        data: Data[LabelledText],
        *,
        valid: Data[LabelledText] | None = None,
        config: ClassifyConfig | None = None,
        model: BertConfig | None = None,
        tokenizer: str | Path | Tokenizer | None = None,
        seed: int = 0,
        **settings: Unpack[ClassifySettings],
    ) -> Self:
        """Make an untrained classifier for a file, a folder, or a list of pairs of a text and its label.

        `settings` are fields of ClassifyConfig (such as vocab_size, pretrained, pooling) and of BertConfig (such as
        d_model), unless `config` and `model` give those whole. `tokenizer` is a kind, a folder, or an object.
        Raises InputError when the data is missing, malformed or too little.
        """
        return cls._from_data(data, valid, config, model, tokenizer, seed, settings)

    @classmethod
    def build(
        cls,
        config: ClassifyConfig,
        model: BertConfig,
        base: Any,
        examples: Sequence[LabelledText],
        labels: list[str],
        seed: int,
    ) -> SequenceClassifier:
        """Return a classifier for the labels; one that knows them all already goes on as it is."""
        if len(labels) < 2:
            raise InputError(f"classification needs at least two labels, got only {labels[0]!r}")
        if isinstance(base, SequenceClassifier) and set(labels) <= set(base.labels):
            if config.pooling != base.pooling:
                raise InputError(f"the classifier {config.pretrained} pools by {base.pooling!r}: say so with pooling")
            return base
        backbone = backbone_of(config, model, seed, base)
        return SequenceClassifier(backbone, labels, pooling=config.pooling, seed=seed)

    def objective(self, train: TrainConfig) -> ClassifyObjective:
        """Return what to train on; says which held-out labels the model does not know."""
        data = self._needs_data()
        say_unknown("labels", (label for _, label in self.valid_data), self.model.labels)
        weights = _class_weights(data, self.model.labels) if self.config.class_weights else None
        examples, valid = self._encoded(data, "training"), self._encoded(self.valid_data, "held-out")
        return ClassifyObjective(self.model, self.tokenizer, examples, valid, train, weights)

    def predict(self, texts: Sequence[Texts], *, progress: bool = False) -> list[LabelPrediction]:
        """Return for every text, or pair of texts, its label, the label's probability, and those of all labels.

        Raises InputError for single texts where the model was trained on pairs, and the other way round.
        """
        texts = as_texts_or_pairs(texts, self.reads_pairs)
        found = self._probabilities(texts, progress)
        return [
            {
                **columns_of(text),
                "label": self.model.labels[int(row.argmax())],
                "score": float(row.max()),
                "scores": dict(zip(self.model.labels, map(float, row), strict=True)),
            }
            for text, row in zip(texts, found, strict=True)
        ]

    def evaluate(
        self,
        data: Data[LabelledText] | None = None,
        *,
        confusion_matrix: str | Path | None = None,
        errors: str | Path | None = None,
    ) -> dict[str, Any]:
        """Return loss, accuracy, macro-F1, the scores of every label, and how often each was taken for each (`confusion`).

        They are measured on a file, a list, or the held-out examples; every example counts alike, whatever weights the
        labels had in training. With `confusion_matrix` also draws that picture; with `errors` writes the texts that get a
        wrong label into that .csv, .tsv or .jsonl file. A label that the model does not know is said on stderr and counts as
        wrong in all scores; the loss is over the other examples. Raises InputError when it knows none of the labels.
        """
        check_table(errors)
        if confusion_matrix is not None:
            check_picture(confusion_matrix)
        examples = self._examples_of(data)
        texts = as_texts_or_pairs([text for text, _ in examples], self.reads_pairs)
        gold = [label for _, label in examples]
        say_unknown("labels", gold, self.model.labels)
        found = self._probabilities(texts, progress=True)
        predicted = [self.model.labels[int(row.argmax())] for row in found]
        numbers = self._numbers(gold)
        chances = [row[number] for row, number in zip(found, numbers, strict=True) if number != IGNORE]
        loss = -np.log(np.maximum(chances, 1e-45)).mean()
        labels = [*self.model.labels, *sorted(set(gold) - set(self.model.labels))]
        if confusion_matrix is not None:
            draw_confusion_matrix(count_confusions(predicted, gold, labels), labels, Path(confusion_matrix))
        if errors is not None:
            wrong = [
                {"place": place, **columns_of(text), "gold": label, "predicted": answer, "score": float(row.max())}
                for place, text, label, answer, row in zip(
                    places_of(examples), texts, gold, predicted, found, strict=True
                )
                if answer != label
            ]
            write_mistakes(errors, ("place", *columns_of(texts[0]), "gold", "predicted", "score"), wrong)
        scores = classification_scores(predicted, gold, labels)
        return {"loss": float(loss), "count": len(examples)} | scores

    @property
    def label_names(self) -> list[str]:
        """The labels in the order of the model's scores."""
        return list(self.model.labels)

    def details(self) -> dict[str, str]:
        """Return the labels."""
        return {"labels": f"{len(self.model.labels)}: {few(self.model.labels)}"} | super().details()

    def _encoded(self, examples: Sequence[LabelledText], part: str = "") -> list[tuple[EncodedText, int]]:
        rows = encode_texts(self.tokenizer, [text for text, _ in examples], self.model, part)
        return list(zip(rows, self._numbers([label for _, label in examples]), strict=True))

    def _numbers(self, given: Sequence[str]) -> list[int]:
        """Return the numbers of labels, that of one that the model does not know being one without a loss."""
        numbers = {label: number for number, label in enumerate(self.model.labels)}
        return [numbers.get(label, IGNORE) for label in given]

    def _probabilities(self, texts: Sequence[Texts], progress: bool) -> list[np.ndarray]:
        return [values(ops.softmax(row)) for row in self._outputs(texts, progress)]


def _class_weights(examples: Sequence[LabelledText], labels: Sequence[str]) -> np.ndarray:
    """Return what each label weighs [C], such that every label weighs the same in all and an example 1 on average."""
    counts = Counter(label for _, label in examples)
    present = [label for label in labels if counts[label]]
    return np.array([len(examples) / (len(present) * counts[label]) if counts[label] else 0.0 for label in labels])
