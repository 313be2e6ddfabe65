"""What can be set about a language model: its data, its training, and how it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numformer.pretrained import LoRAConfig
from numformer.tasks.shared.settings import DecoderSettings
from numformer.tasks.shared.text_task import MeasureOptions, TextConfig
from numformer.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(TextConfig):
    """What to train on, and what to start from."""

    data: str = ""
    """Text file, the name of a known text (see `numformer data list`), or examples in a .jsonl file."""
    valid: str | None = None
    """File of held-out text or examples; the end of the text, or some of the examples, when not given."""
    valid_fraction: float = 0.1
    """Share of the text that is held out at its end, or of the examples."""
    sequence_length: int | None = None
    """Tokens that the model is trained and measured on at a time; the context length when not given, of a model to start from
    1,024 at most."""
    skip_bad: bool = False
    """Leave examples out that are malformed, and count them, instead of stopping at the first."""


class LanguageModelSettings(DecoderSettings, total=False):
    """The keywords of `from_text`: those of every text, the fields of LanguageModelConfig, and those of GPTConfig."""

    tokenizer: str | Path | Tokenizer
    valid: str | Path | None
    valid_fraction: float
    pretrained: str | Path | None
    freeze: str | Sequence[str]
    encoding: str
    seed: int
    config: Any
    sequence_length: int | None
    skip_bad: bool
    lora: LoRAConfig


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(MeasureOptions):
    """How to measure on a long text."""

    stride: int | None = None
    """Tokens between the beginnings of windows; fewer than the context length let every token be predicted from more."""
