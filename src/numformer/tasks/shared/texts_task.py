"""A task whose examples are texts, or pairs of texts, with one answer each: classification and regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numformer.data.tables.columns import Texts
from numformer.nn.module import Module
from numformer.tasks.shared.attention import Sequences, token_labels, with_frame
from numformer.tasks.shared.encoding import AnyTokenizer, special_row
from numformer.tasks.shared.example_task import ExampleTask
from numformer.tasks.shared.prediction import run_batches, values
from numformer.tasks.shared.text_pairs import as_texts_or_pairs, collate_texts, encode_texts


@dataclass(frozen=True, kw_only=True)
class SecondTextOptions:
    """What a text stands beside."""

    text_pair: str | None = None
    """The second text, for a model of pairs."""


class TextsTask(ExampleTask):
    """A model that reads single texts, or pairs of texts, as the run, or the folder that `save` has written, says."""

    attention_options = SecondTextOptions
    second_text = "text_pair"
    config: Any

    def __init__(self, model: Module, tokenizer: AnyTokenizer, config: Any = None) -> None:
        super().__init__(model, tokenizer, config)
        self._reads_pairs: bool | None = self.config.pair is not None

    @property
    def reads_pairs(self) -> bool | None:
        """Whether the model was trained on pairs of texts; None of a folder of others, which does not say."""
        return self._reads_pairs

    def use_settings(self, settings: dict[str, Any]) -> None:
        """Take the settings that a run or a saved folder has; one of others has none."""
        super().use_settings(settings)
        self._reads_pairs = self.config.pair is not None if settings else None

    def details(self) -> dict[str, str]:
        """Say that the model reads pairs, where it does."""
        return ({"input": "pairs of texts"} if self.reads_pairs else {}) | super().details()

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a text, or of a pair, between the begin and end tokens."""
        (given,) = as_texts_or_pairs([text if second is None else (text, second)], self.reads_pairs)
        (row,) = encode_texts(self.tokenizer, [given], self.model)
        if second is None or row.second is None:
            labels = with_frame(self.tokenizer, token_labels(self.tokenizer, text), len(row))
        else:
            ends = len(special_row(self.tokenizer, "eos_id", row.tokens))
            more = (self.model.backbone.separators - 1) * ends
            first = with_frame(self.tokenizer, token_labels(self.tokenizer, text), row.second - more)
            rest = token_labels(self.tokenizer, second)[: len(row) - row.second - ends]
            labels = [*first, *["<eos>"] * more, *rest, *["<eos>"] * ends]
        return Sequences(collate_texts(self.tokenizer, [row]), {"": labels})

    def _outputs(self, texts: Sequence[Texts], progress: bool) -> list[np.ndarray]:
        """Return what the model says of each text, or pair, in float64."""
        rows = encode_texts(self.tokenizer, texts, self.model)

        def work(numbers: list[int]) -> Sequence[np.ndarray]:
            inputs = collate_texts(self.tokenizer, [rows[number] for number in numbers])
            return list(values(self.model(*inputs)).astype(np.float64))

        return run_batches(rows, work, progress)
