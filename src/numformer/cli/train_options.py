"""The options of `numformer train TASK`: a class for each task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from numformer.models import BertConfig, GPTConfig, TransformerConfig
from numformer.tasks import (
    Classifier,
    LanguageModel,
    MaskedLanguageModel,
    QuestionAnswerer,
    Summariser,
    Tagger,
    Translator,
)
from numformer.tasks.classification import ClassifyConfig
from numformer.tasks.question_answering import QAConfig
from numformer.tasks.summarisation import SummariseConfig
from numformer.tasks.tagging import TagConfig
from numformer.tasks.translation import Seq2SeqConfig
from numformer.training import OptimConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What every training command takes."""

    out: Path | None = None
    """Folder of the run; runs/NAME of the data when not given."""
    config: Path | None = None
    """TOML file of options, such as a recipe or another run's run.toml; options on the command line win."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
    pretrained: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Folder of a trained model whose weights and tokenizer to start from; the head is new where the task is another."""


@dataclass(frozen=True, kw_only=True)
class TextOptions(TrainOptions):
    """What training on plain text takes."""

    data: str = ""
    """Text file, or the name of a known text (see `numformer data list`)."""
    tokenizer: str = "characters"
    """characters, bytes, bpe, wordpiece, unigram, or the folder of a saved tokenizer."""
    valid: str | None = None
    """File of held-out text; the end of the text when not given."""
    valid_fraction: float = 0.1
    """Share of the text that is held out at its end."""
    freeze: tuple[str, ...] = ()
    """Names of parts of the model that are not trained."""


@dataclass(frozen=True, kw_only=True)
class TrainLM(TextOptions):
    """Train a language model on a text and leave a run folder that other commands and Hugging Face can read.

    Ctrl-C stops after the current step with a checkpoint; --resume continues to the same bytes as if nothing happened.
    """

    sample: int = 300
    """Tokens of sample text to print at the end."""
    prompt: str = ""
    """Text that the sample continues."""
    model: GPTConfig = LanguageModel.model_config
    optim: OptimConfig = LanguageModel.optim_config
    train: TrainConfig = LanguageModel.train_config


@dataclass(frozen=True, kw_only=True)
class TrainMLM(TextOptions):
    """Pretrain an encoder on plain text: it learns to guess hidden tokens, and other tasks start from it with --from."""

    model: BertConfig = MaskedLanguageModel.model_config
    optim: OptimConfig = MaskedLanguageModel.optim_config
    train: TrainConfig = MaskedLanguageModel.train_config


@dataclass(frozen=True, kw_only=True)
class TrainSeq2Seq(TrainOptions, Seq2SeqConfig):
    """Train an encoder-decoder on pairs of texts (two TAB columns, or JSONL), or on a generated task."""

    model: TransformerConfig = Translator.model_config
    optim: OptimConfig = Translator.optim_config
    train: TrainConfig = Translator.train_config


@dataclass(frozen=True, kw_only=True)
class TrainSummarise(TrainOptions, SummariseConfig):
    """Train an encoder-decoder on documents and their summaries (JSONL, or two TAB columns)."""

    model: TransformerConfig = Summariser.model_config
    optim: OptimConfig = Summariser.optim_config
    train: TrainConfig = Summariser.train_config


@dataclass(frozen=True, kw_only=True)
class TrainClassify(TrainOptions, ClassifyConfig):
    """Train a text classifier on CSV or TSV with a header, JSONL, or a folder with a folder or file for each label."""

    model: BertConfig = Classifier.model_config
    optim: OptimConfig = Classifier.optim_config
    train: TrainConfig = Classifier.train_config


@dataclass(frozen=True, kw_only=True)
class TrainTag(TrainOptions, TagConfig):
    """Train a tagger of words on two-column CoNLL files or CoNLL-U: parts of speech, named entities."""

    model: BertConfig = Tagger.model_config
    optim: OptimConfig = Tagger.optim_config
    train: TrainConfig = Tagger.train_config


@dataclass(frozen=True, kw_only=True)
class TrainQA(TrainOptions, QAConfig):
    """Train a model that finds answers to questions in texts, on JSON in the format of SQuAD."""

    model: BertConfig = QuestionAnswerer.model_config
    optim: OptimConfig = QuestionAnswerer.optim_config
    train: TrainConfig = QuestionAnswerer.train_config


OPTIONS: dict[str, tuple[type[Any], type[Any]]] = {
    "lm": (TrainLM, LanguageModel),
    "mlm": (TrainMLM, MaskedLanguageModel),
    "seq2seq": (TrainSeq2Seq, Translator),
    "summarise": (TrainSummarise, Summariser),
    "classify": (TrainClassify, Classifier),
    "tag": (TrainTag, Tagger),
    "qa": (TrainQA, QuestionAnswerer),
}
