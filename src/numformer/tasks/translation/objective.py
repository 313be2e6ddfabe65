"""What sequence to sequence is trained on: a source, what the decoder has seen of the target, and what it is to say next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numformer._notices import amount, say, say_share
from numformer.data.pairs import Pair
from numformer.errors import InputError
from numformer.models import Transformer
from numformer.tasks.shared.encoding import cut, pad_id, padded, say_cut, special_id
from numformer.tasks.shared.objective import IGNORE, Batch, ExamplesObjective
from numformer.tokenizers import Tokenizer, TokenizerPair, encode_all
from numformer.training import TrainConfig

EncodedPair = tuple[np.ndarray, np.ndarray]  # the ids of a source, with its end token, and of a target


def encode_sources(tokenizer: Tokenizer, texts: Sequence[str], max_seq_len: int) -> tuple[list[np.ndarray], int]:
    """Return the ids of sources, cut to the context length, with the end token, and how many sources were cut."""
    end, encoded = [special_id(tokenizer, "eos_id")], encode_all(tokenizer, texts)
    kept = [cut(tokenizer, text, ids, max_seq_len - 1) for text, ids in zip(texts, encoded, strict=True)]
    lost = sum(len(fewer) < len(ids) for fewer, ids in zip(kept, encoded, strict=True))
    return [np.concatenate([ids, end]) for ids in kept], lost


def say_unknown_tokens(tokenizer: Tokenizer, sources: Sequence[np.ndarray]) -> None:
    """Say how many sources have characters (or words) that the vocabulary lacks, which the model cannot tell apart."""
    if (unknown := getattr(tokenizer, "unk_id", None)) is not None:
        number = sum(bool((ids == unknown).any()) for ids in sources)
        say_share(number, len(sources), "sources", "hold what the vocabulary of the training lacks")


def encode_pairs(
    tokenizer: TokenizerPair, pairs: Sequence[Pair], max_seq_len: int, part: str = ""
) -> list[EncodedPair]:
    """Return the ids of the pairs whose target fits the context, and say how many do not.

    Of a part, "training" or "held-out", it is said how many sources are cut. Raises InputError when no target fits.
    """
    sources, lost = encode_sources(tokenizer.source, [source for source, _ in pairs], max_seq_len)
    targets = encode_all(tokenizer.target, [target for _, target in pairs])
    fitting = [pair for pair in zip(sources, targets, strict=True) if len(pair[1]) < max_seq_len]
    if not fitting:
        raise InputError(f"every target is longer than max_seq_len={max_seq_len} tokens")
    if len(fitting) < len(pairs):
        left_out = f"{len(pairs) - len(fitting):,} of {amount(len(pairs), f'{part} pairs'.lstrip())} left out"
        say(f"{left_out}: the target does not fit max_seq_len={max_seq_len} tokens")
    if part:
        say_cut(lost, len(pairs), f"{part} sources", max_seq_len)
    return fitting


class Seq2SeqObjective(ExamplesObjective):
    """Source, target shifted right, target."""

    criterion = "loss"
    unit = "target tokens"

    def __init__(
        self,
        model: Transformer,
        tokenizer: TokenizerPair,
        examples: Sequence[EncodedPair],
        valid: Sequence[EncodedPair] | None,
        train: TrainConfig,
    ) -> None:
        self.bos, self.eos = ([special_id(tokenizer.target, name)] for name in ("bos_id", "eos_id"))
        super().__init__(model, tokenizer, examples, valid, train)

    def lengths(self, example: EncodedPair) -> tuple[int, ...]:
        """Return the lengths of source and target."""
        return len(example[0]), len(example[1]) + 1

    def collate(self, examples: Sequence[EncodedPair]) -> Batch:
        """Return source [B S], what the decoder sees [B T] and what it is to say [B T]."""
        src = padded([source for source, _ in examples], self.model.config.pad_id)[0]
        seen = padded([np.concatenate([self.bos, target]) for _, target in examples], pad_id(self.tokenizer.target))[0]
        return src, seen, padded([np.concatenate([target, self.eos]) for _, target in examples], IGNORE)[0]
