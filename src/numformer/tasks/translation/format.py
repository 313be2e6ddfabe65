"""Pairs of texts: how they are read or generated, held apart, and put into tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from numformer._notices import shortened
from numformer.data.files.examples import Examples
from numformer.data.pairs.reader import Pair, read_pairs
from numformer.data.split import near_duplicate_groups
from numformer.data.toy import toy_splits
from numformer.errors import InputError
from numformer.models import TransformerConfig
from numformer.tasks.shared.encoding import special_id, vocabulary_size
from numformer.tasks.shared.format import DataConfig, Format, Parts
from numformer.tasks.shared.settings import DataSettings, EncoderDecoderSettings
from numformer.tokenizers import KINDS, TokenizerPair, make_tokenizer
from numformer.tokenizers.pair import SOURCE_FILE

TOY = "toy:"
TOY_HELD_OUT = 1000


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(DataConfig):
    """Pairs of texts: two TAB columns, or JSONL."""

    data: str = ""
    """File to train on, or a generated task: toy:identity, toy:reverse, toy:sort, toy:addition."""
    tokenizer: str = "bpe"
    """bpe, wordpiece, unigram, characters, bytes, or the folder of a saved tokenizer."""
    vocab_size: int = 8000
    """Number of tokens of a tokenizer that is trained on the data."""
    source: str = "source"
    """Key of the source in JSONL."""
    target: str = "target"
    """Key of the target in JSONL."""
    backwards: bool = False
    """Learn from the second text to the first."""
    separate_vocabularies: bool = False
    """Train a tokenizer for the source and one for the target, instead of one for both."""
    toy_examples: int = 50_000
    """Number of training examples of a generated task."""

    @property
    def is_toy(self) -> bool:
        """Whether the data is generated."""
        return self.data.startswith(TOY)


class Seq2SeqSettings(DataSettings, EncoderDecoderSettings, total=False):
    """What `Translator.from_data` takes as keywords: the fields of Seq2SeqConfig and TransformerConfig."""

    source: str
    target: str
    backwards: bool
    separate_vocabularies: bool
    toy_examples: int


class PairFormat(Format[Pair, Seq2SeqConfig]):
    """Pairs of a source and a target."""

    together = "pairs that share a source or a target"

    def read(self, path: str, config: Seq2SeqConfig) -> Examples[Pair]:
        """Return the pairs of a file, in the direction to be learned."""
        pairs = read_pairs(
            path, source=config.source, target=config.target, encoding=config.encoding, skip_bad=config.skip_bad
        )
        if config.backwards:
            pairs[:] = [(target, source) for source, target in pairs]
        return pairs

    def describe(self, examples: Sequence[Pair]) -> str:
        """Return the mean lengths, and the first pair, which shows columns that are swapped."""
        source, target = (sum(len(pair[side]) for pair in examples) / len(examples) for side in (0, 1))
        first = " → ".join(shortened(text) for text in examples[0])
        return f"sources of {source:,.0f} characters on average, targets of {target:,.0f}; the first: {first}"

    def generate(self, config: Seq2SeqConfig, seed: int) -> Parts[Pair] | None:
        """Return the pairs of a toy task."""
        if not config.is_toy:
            return None
        if config.toy_examples < 1:
            raise InputError(f"toy_examples must be at least 1, got {config.toy_examples}")
        train_data, valid_data, _ = toy_splits(
            config.data.removeprefix(TOY), config.toy_examples, TOY_HELD_OUT, 0, seed
        )
        return train_data, valid_data

    def groups(self, examples: Sequence[Pair]) -> list[int]:
        """Keep near-duplicates, which share a source or a target, on one side."""
        return near_duplicate_groups(examples)

    def texts(self, examples: Sequence[Pair]) -> Iterable[str]:
        """Return the sources, then the targets."""
        return chain((source for source, _ in examples), (target for _, target in examples))

    def make_tokenizer(self, config: Seq2SeqConfig, examples: Sequence[Pair]) -> TokenizerPair:
        """Return a tokenizer for both texts, or one for each; a generated task takes characters."""
        kind = "characters" if config.is_toy else config.tokenizer
        if kind == "words":
            raise InputError("the tokenizer words loses the spaces of a text; take another kind")
        if kind not in KINDS and (Path(kind) / SOURCE_FILE).exists():
            return TokenizerPair.load(kind)
        if config.separate_vocabularies:
            sources, targets = ([pair[side] for pair in examples] for side in (0, 1))
            source = make_tokenizer(kind, sources, config.vocab_size)
            return TokenizerPair(source, make_tokenizer(kind, targets, config.vocab_size))
        both = make_tokenizer(kind, list(self.texts(examples)), config.vocab_size)
        return TokenizerPair(both, both)

    def fit_config(self, model: TransformerConfig, tokenizer: TokenizerPair) -> TransformerConfig:
        """Return the model's config with the sizes of the tokenizers."""
        return dataclasses.replace(
            model,
            src_vocab_size=vocabulary_size(model.src_vocab_size, tokenizer.source, "src_vocab_size"),
            tgt_vocab_size=vocabulary_size(model.tgt_vocab_size, tokenizer.target, "tgt_vocab_size"),
            pad_id=special_id(tokenizer.source, "pad_id"),
            share_embeddings=model.share_embeddings and tokenizer.source is tokenizer.target,
        )
