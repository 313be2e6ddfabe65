"""The logits of the next token of targets that an encoder-decoder writes from sources, with a cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from numformer.generation.cache import Seq2SeqCache
from numformer.generation.decoder import PlainDecoder


class Seq2SeqDecoder(PlainDecoder):
    """Targets, one per row of src [B S], that start with `bos_id`; the source is encoded once."""

    def __init__(self, model: Any, src: np.ndarray, bos_id: int, max_new_tokens: int) -> None:
        super().__init__(model, [[bos_id]] * len(src))
        self.src_mask = src != model.config.pad_id
        self.memory = model.encode(src, self.src_mask)
        config = model.config
        width, heads = config.d_model // config.num_heads, config.num_heads
        layers, dtype = config.num_decoder_layers, self.memory.dtype
        self.cache = Seq2SeqCache(layers, len(src), heads, max_new_tokens, width, dtype)
        self.sources = np.arange(len(src))

    def next_logits(self) -> np.ndarray:
        """Return the logits [B V] of each target's next token."""
        newest = np.array([[ids[-1]] for ids in self.sequences])
        logits = self.model.decode(newest, self.memory, self.src_mask, cache=self.cache)
        return np.asarray(logits.data[:, -1])

    def select(self, rows: np.ndarray) -> None:
        """Keep these targets, in this order; one may be taken more than once."""
        super().select(rows)
        self.cache.select(rows)
        sources = self.sources[rows]
        if not np.array_equal(sources, self.sources):  # beams of one source share what was computed of it
            self.cache.select_sources(rows)
            self.memory, self.src_mask = self.memory[rows], self.src_mask[rows]
        self.sources = sources
