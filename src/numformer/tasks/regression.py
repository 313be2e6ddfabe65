"""Regression: a text in, a number out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypedDict, Unpack

import numpy as np

from numformer import ops
from numformer.autograd import Tensor
from numformer.data.files.examples import Examples
from numformer.data.tables.columns import Texts
from numformer.data.tables.valued import ValuedText, read_valued
from numformer.data.tables.writer import check_table
from numformer.errors import InputError
from numformer.metrics.regression import mean_squared_error, pearson, spearman
from numformer.models import BertConfig, SequenceRegressor
from numformer.tasks.shared.example_task import Data
from numformer.tasks.shared.format import DataConfig
from numformer.tasks.shared.mistakes import MistakeOptions, places_of, write_mistakes
from numformer.tasks.shared.objective import Batch, ExamplesObjective
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
from numformer.tokenizers import Tokenizer
from numformer.training import OptimConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class RegressConfig(DataConfig):
    """Texts with numbers: CSV or TSV with a header, or JSONL."""

    text: tuple[str, ...] = ()
    """Name of the column or key of the text, or several, which are joined with a space; "text" when not given."""
    pair: str | None = None
    """Name of the column or key of a second text, for pairs of texts; where there is "sentence2" and the like, that."""
    value: str | None = None
    """Name of the column or key of the number; "value", or the other of two columns, when not given."""
    pooling: Literal["mean", "first"] = "mean"
    """What stands for the whole text: the mean of its positions, or the first one (of a GPT, the last)."""


class RegressSettings(DataSettings, EncoderSettings, total=False):
    """What `Regressor.from_data` takes as keywords: the fields of RegressConfig and BertConfig."""

    text: str | Sequence[str]
    pair: str | None
    value: str | None
    pooling: Literal["mean", "first"]


class ValuedFormat(TextsFormat):
    """Texts with one number each."""

    form = "a pair of a text and a finite number (a text may be a pair of texts)"

    def read(self, path: str, config: RegressConfig) -> Examples[ValuedText]:
        """Return the examples of a file."""
        return read_valued(
            path,
            text=config.text,
            value=config.value,
            pair=config.pair,
            encoding=config.encoding,
            skip_bad=config.skip_bad,
        )

    def describe_answers(self, examples: Sequence[ValuedText]) -> str:
        """Return the range of the numbers."""
        numbers = [number for _, number in examples]
        return f"numbers from {min(numbers):g} to {max(numbers):g}, mean {sum(numbers) / len(numbers):g}"

    def is_answer(self, value: object) -> bool:
        """Tell whether a value is a finite number, of Python or of NumPy; a whole number may be too large for a float."""
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            return False
        try:
            return math.isfinite(value)
        except OverflowError:
            return False


class RegressObjective(ExamplesObjective):
    """Tokens and numbers of mean 0 and deviation 1; the loss is the squared error, summed."""

    figures = ("loss",)
    unit = "texts"

    def collate(self, examples: Sequence[tuple[EncodedText, float]]) -> Batch:
        """Return tokens [B T] (or features [B T C]), their mask [B T], segments [B T] of pairs, and numbers [B]."""
        inputs = collate_texts(self.tokenizer, [text for text, _ in examples])
        return (*inputs, np.array([number for _, number in examples], np.float32))

    @property
    def loss_unit(self) -> str:
        """What the loss is in: the numbers that the model learns have deviation 1."""
        return "squared error over variance"

    def loss_of(
        self,
        outputs: Any,
        targets: np.ndarray,
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
    ) -> Tensor:
        """Return the summed squared error, outputs [B 1] and targets [B] -> []; a target that is no number does not count."""
        real = targets == targets
        difference = ops.where(real, outputs.reshape(-1) - ops.where(real, targets, 0.0), 0.0)
        return (difference * difference).sum()

    def flat(self, outputs: Any, targets: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the numbers [B] that the model says and those it should, of mean 0 and deviation 1."""
        return outputs.reshape(-1), targets

    def num_targets(self, targets: np.ndarray) -> int:
        """Return the number of texts; none is left out."""
        return len(targets)

    def num_correct(self, outputs: Any, targets: Any) -> int:
        """Return 0: no number is right or wrong."""
        return 0


class ValuePrediction(TextColumns):
    """A text, or a pair of texts, and the number that is predicted for it."""

    value: float


class RegressionScores(TypedDict):
    """The loss as in training, the error in the units of the data, and how the predictions go with the numbers."""

    loss: float
    mean_squared_error: float
    pearson: float
    spearman: float
    count: int


class Regressor(TextsTask):
    """A model that gives texts numbers: `Regressor.from_data("prices.csv").fit()`, then `predict(["a red chair"])`.

    An example is a pair of a text, or a pair of texts, and its number.

    The model learns numbers of mean 0 and deviation 1, whatever their units,
    and keeps the mean and the deviation of the training data in its config.json.
    """

    name = "regress"
    format = ValuedFormat()
    model_class = SequenceRegressor
    data_config = RegressConfig
    model_config = BertConfig()
    train_config: ClassVar[TrainConfig] = TrainConfig(steps=1000, eval_every=100)
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=100)
    evaluate_options = MistakeOptions
    reading = ("encoding", "text", "pair", "value")
    columns = ("value",)

    model: SequenceRegressor
    tokenizer: Tokenizer
    config: RegressConfig

    @classmethod
    def from_data(
        cls,
        data: Data[ValuedText],
        *,
        valid: Data[ValuedText] | None = None,
        config: RegressConfig | None = None,
        model: BertConfig | None = None,
        tokenizer: str | Path | Tokenizer | None = None,
        seed: int = 0,
        **settings: Unpack[RegressSettings],
    ) -> Self:
        """Make an untrained regressor for a file, or a list of pairs of a text and its number.

        `settings` are fields of RegressConfig (such as vocab_size, pretrained, pooling) and of BertConfig (such as d_model),
        unless `config` and `model` give those whole. `tokenizer` is a kind, a folder, or an object.
        Raises InputError when the data is missing, malformed or too little.
        """
        return cls._from_data(data, valid, config, model, tokenizer, seed, settings)

    @classmethod
    def build(
        cls,
        config: RegressConfig,
        model: BertConfig,
        base: Any,
        examples: Sequence[ValuedText],
        labels: list[str],
        seed: int,
    ) -> SequenceRegressor:
        """Return a regressor in the units of the examples; a pretrained one goes on as it is, in its own units."""
        if isinstance(base, SequenceRegressor):
            if config.pooling != base.pooling:
                raise InputError(f"the regressor {config.pretrained} pools by {base.pooling!r}: say so with pooling")
            return base
        mean, std = _units([float(number) for _, number in examples])
        backbone = backbone_of(config, model, seed, base)
        return SequenceRegressor(backbone, mean=mean, std=std, pooling=config.pooling, seed=seed)

    def objective(self, train: TrainConfig) -> RegressObjective:
        """Return what to train on; raises InputError for label smoothing, since there are no labels."""
        if train.label_smoothing:
            raise InputError(f"label_smoothing={train.label_smoothing} is for labels; regression has numbers")
        examples = self._encoded(self._needs_data(), "training")
        valid = self._encoded(self.valid_data, "held-out")
        return RegressObjective(self.model, self.tokenizer, examples, valid, train)

    def predict(self, texts: Sequence[Texts], *, progress: bool = False) -> list[ValuePrediction]:
        """Return for every text, or pair of texts, the number, in the units of the data that the model was trained on.

        Raises InputError for single texts where the model was trained on pairs, and the other way round.
        """
        texts = as_texts_or_pairs(texts, self.reads_pairs)
        found = (float(self.model.mean + self.model.std * row[0]) for row in self._outputs(texts, progress))
        return [{**columns_of(text), "value": number} for text, number in zip(texts, found, strict=True)]

    def evaluate(self, data: Data[ValuedText] | None = None, *, errors: str | Path | None = None) -> RegressionScores:
        """Return the scores on a file, a list, or the held-out examples.

        `loss` is the mean squared error of the numbers that the model learns, of deviation 1, and `mean_squared_error` that
        of the data's. A correlation is 0 where the numbers or the predictions are all the same. With `errors` writes the
        texts with their numbers and the predicted ones into that .csv, .tsv or .jsonl file, the largest difference first.
        """
        check_table(errors)
        examples = self._examples_of(data)
        gold = [float(number) for _, number in examples]
        predicted = [each["value"] for each in self.predict([text for text, _ in examples], progress=True)]
        if errors is not None:
            rows = [
                {
                    "place": place,
                    **columns_of(text),
                    "gold": right,
                    "predicted": number,
                    "difference": abs(number - right),
                }
                for place, (text, _), right, number in zip(places_of(examples), examples, gold, predicted, strict=True)
            ]
            names = ("place", *columns_of(examples[0][0]), "gold", "predicted", "difference")
            write_mistakes(errors, names, rows, "examples")
        return {
            "loss": mean_squared_error(self._learned(predicted), self._learned(gold)),
            "mean_squared_error": mean_squared_error(predicted, gold),
            "pearson": pearson(predicted, gold),
            "spearman": spearman(predicted, gold),
            "count": len(examples),
        }

    def details(self) -> dict[str, str]:
        """Return the mean and the deviation of the numbers."""
        numbers = f"mean {self.model.mean:g}, standard deviation {self.model.std:g}"
        return {"numbers": numbers} | super().details()

    def _learned(self, numbers: Sequence[float]) -> list[float]:
        """Return numbers in the units that the model learns."""
        return [(number - self.model.mean) / self.model.std for number in numbers]

    def _encoded(self, examples: Sequence[ValuedText], part: str = "") -> list[tuple[EncodedText, float]]:
        numbers = self._learned([float(number) for _, number in examples])
        rows = encode_texts(self.tokenizer, [text for text, _ in examples], self.model, part)
        return list(zip(rows, numbers, strict=True))


def _units(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the deviation of numbers; the deviation of one number that repeats is taken for 1.

    Raises InputError for numbers whose squares are too large.
    """
    lowest, highest = min(numbers), max(numbers)
    if lowest == highest:
        return float(lowest), 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(np.mean(numbers)), float(np.std(numbers))
    if not 0.0 < std < math.inf:
        raise InputError(f"the numbers reach from {lowest:g} to {highest:g}: their squares are out of range")
    return mean, std
