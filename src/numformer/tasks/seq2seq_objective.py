"""What sequence to sequence is trained on: a source, what the decoder has seen of the target, and what it is to say next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numformer.tasks.encoding import pad_id, padded, special_id
from numformer.tasks.objective import IGNORE, Batch, ExamplesObjective
from numformer.tokenizers import TokenizerPair


class Seq2SeqObjective(ExamplesObjective):
    """Source, target shifted right, target."""

    criterion = "loss"
    unit = "target tokens"

    def __init__(self, model: Any, tokenizer: TokenizerPair, *others: Any) -> None:
        self.bos, self.eos = ([special_id(tokenizer.target, name)] for name in ("bos_id", "eos_id"))
        super().__init__(model, tokenizer, *others)

    def lengths(self, example: tuple[np.ndarray, np.ndarray]) -> tuple[int, ...]:
        """Return the lengths of source and target."""
        return len(example[0]), len(example[1]) + 1

    def collate(self, examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
        """Return source [B S], what the decoder sees [B T] and what it is to say [B T]."""
        src = padded([source for source, _ in examples], self.model.config.pad_id)[0]
        seen = padded([np.concatenate([self.bos, target]) for _, target in examples], pad_id(self.tokenizer.target))[0]
        return src, seen, padded([np.concatenate([target, self.eos]) for _, target in examples], IGNORE)[0]
