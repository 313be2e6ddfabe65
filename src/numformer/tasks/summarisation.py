"""Summarisation: translation of documents into summaries, with defaults of its own, and ROUGE."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from numformer.metrics import rouge
from numformer.models import TransformerConfig
from numformer.tasks.translation.format import Seq2SeqConfig
from numformer.tasks.translation.search import SearchSettings
from numformer.tasks.translation.translator import Translator


@dataclass(frozen=True, kw_only=True)
class SummariseConfig(Seq2SeqConfig):
    """Documents with their summaries: two TAB columns, or JSONL."""

    source: str = "document"
    """Key of the document in JSONL."""
    target: str = "summary"
    """Key of the summary in JSONL."""


class Summariser(Translator):
    """A model that writes summaries: `Summariser.from_data("news.jsonl").fit()`, then `summarise([text])`."""

    name = "summarise"
    data_config = SummariseConfig
    model_config = TransformerConfig(max_seq_len=512)  # more of a document is cut off

    def summarise(self, texts: Sequence[str], **settings: Unpack[SearchSettings]) -> list[str]:
        """Return the best summary of every text; `settings` as in `predict`."""
        return self.translate(texts, **settings)

    def compare(self, predicted: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Return ROUGE, where its library is installed."""
        return {} if importlib.util.find_spec("rouge_score") is None else rouge(predicted, references)
