"""What sequence to sequence is trained on: a source, what the decoder has seen of the target, and what it is to say next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numformer._notices import amount, say, say_share
from numformer.data.pairs.reader import Pair
from numformer.errors import InputError
from numformer.models.encoder_decoder import EncoderDecoderModel
from numformer.ops.loss import IGNORE
from numformer.tasks.shared.encoding import cut, pad_id, padded, say_cut, special_id
from numformer.tasks.shared.objective import Batch, ExamplesObjective
from numformer.tokenizers import Tokenizer, TokenizerPair, encode_all
from numformer.training import TrainConfig

EncodedPair = tuple[np.ndarray, np.ndarray]  # the ids of a source, with its end token, and of a target


def start_id(model: EncoderDecoderModel, tokenizer: Tokenizer) -> int:
    """Return the token that targets begin with, which a model may say; raises InputError where there is none."""
    number = getattr(model.config, "start_id", None)
    return special_id(tokenizer, "bos_id") if number is None else int(number)


def frame_of(model: EncoderDecoderModel, tokenizer: Tokenizer) -> list[int]:
    """Return the token that stands before every text besides; none for most models."""
    return [special_id(tokenizer, "bos_id")] if model.frames_texts else []


def encode_sources(
    model: EncoderDecoderModel, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[list[np.ndarray], int]:
    """Return the ids of sources, cut to the context length, with the end token, and how many sources were cut."""
    begin, end, encoded = frame_of(model, tokenizer), [special_id(tokenizer, "eos_id")], encode_all(tokenizer, texts)
    room = model.config.max_seq_len - len(begin) - len(end)
    kept = [cut(tokenizer, text, ids, room) for text, ids in zip(texts, encoded, strict=True)]
    lost = sum(len(fewer) < len(ids) for fewer, ids in zip(kept, encoded, strict=True))
    return [np.concatenate([begin, ids, end]).astype(np.int64) for ids in kept], lost


def say_unknown_tokens(tokenizer: Tokenizer, sources: Sequence[np.ndarray]) -> None:
    """Say how many sources have characters (or words) that the vocabulary lacks, which the model cannot tell apart."""
    if (unknown := getattr(tokenizer, "unk_id", None)) is not None:
        number = sum(bool((ids == unknown).any()) for ids in sources)
        say_share(number, len(sources), "sources", "hold what the vocabulary of the training lacks")


def encode_pairs(
    model: EncoderDecoderModel, tokenizer: TokenizerPair, pairs: Sequence[Pair], part: str = ""
) -> list[EncodedPair]:
    """Return the ids of the pairs whose target fits the context, and say how many do not.

    Of a part, "training" or "held-out", it is said how many sources are cut. Raises InputError when no target fits.
    """
    max_seq_len, begin = model.config.max_seq_len, frame_of(model, tokenizer.target)
    sources, lost = encode_sources(model, tokenizer.source, [source for source, _ in pairs])
    encoded = encode_all(tokenizer.target, [target for _, target in pairs])
    targets = [np.concatenate([begin, ids]).astype(np.int64) for ids in encoded] if begin else encoded
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
        model: EncoderDecoderModel,
        tokenizer: TokenizerPair,
        examples: Sequence[EncodedPair],
        valid: Sequence[EncodedPair] | None,
        train: TrainConfig,
    ) -> None:
        self.start, self.eos = [start_id(model, tokenizer.target)], [special_id(tokenizer.target, "eos_id")]
        super().__init__(model, tokenizer, examples, valid, train)

    def lengths(self, example: EncodedPair) -> tuple[int, ...]:
        """Return the lengths of source and target."""
        return len(example[0]), len(example[1]) + 1

    @property
    def fills(self) -> tuple[int, ...]:
        """What fills up sources, what the decoder sees, and what it is to say."""
        return self.model.config.pad_id, pad_id(self.tokenizer.target), IGNORE

    def collate(self, examples: Sequence[EncodedPair]) -> Batch:
        """Return source [B S], what the decoder sees [B T] and what it is to say [B T]."""
        sources = [source for source, _ in examples]
        seen = [np.concatenate([self.start, target]) for _, target in examples]
        said = [np.concatenate([target, self.eos]) for _, target in examples]
        return tuple(padded(rows, fill)[0] for rows, fill in zip((sources, seen, said), self.fills, strict=True))
