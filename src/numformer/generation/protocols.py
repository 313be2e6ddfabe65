"""What generation needs of a model: the two kinds of model that write tokens."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

from numformer.autograd import Tensor
from numformer.nn.cache import EncoderDecoderCache, KVCache


class CausalLMSizes(Protocol):
    """The fields of a language model's config that generation reads."""

    @property
    def max_seq_len(self) -> int:
        """The context length."""

    @property
    def vocab_size(self) -> int:
        """The number of distinct tokens."""


class CausalLM(Protocol):
    """A model that predicts every next token of a sequence from those before it."""

    @property
    def config(self) -> CausalLMSizes:
        """The model's sizes."""

    def make_cache(self, num_rows: int) -> KVCache:
        """Return an empty cache for so many sequences."""

    def __call__(self, tokens: np.ndarray, *, cache: KVCache | None = None, last: np.ndarray | None = None) -> Tensor:
        """Return logits [B T V] for tokens [B T] that continue a cache's rows; [B 1 V] at the positions `last` [B] only."""


class EncoderDecoderSizes(Protocol):
    """The fields of an encoder-decoder's config that generation reads."""

    @property
    def max_seq_len(self) -> int:
        """The most tokens of a source, and of a target."""

    @property
    def src_vocab_size(self) -> int:
        """The number of distinct tokens of sources."""

    @property
    def tgt_vocab_size(self) -> int:
        """The number of distinct tokens of targets."""

    @property
    def pad_id(self) -> int:
        """The token that fills up short sources and is not attended to."""


class EncoderDecoder(Protocol):
    """A model that predicts every next token of a target from those before it and from a source."""

    @property
    def config(self) -> EncoderDecoderSizes:
        """The model's sizes."""

    def make_cache(self, num_rows: int) -> EncoderDecoderCache:
        """Return an empty cache for so many targets."""

    def encode(self, src: np.ndarray, src_mask: np.ndarray) -> Tensor:
        """Return what the decoder attends to [B S D], for sources [B S] and a mask that is True at their tokens."""

    def decode(
        self, tgt: np.ndarray, memory: Any, src_mask: np.ndarray, *, cache: EncoderDecoderCache | None = None
    ) -> Tensor:
        """Return logits [B T V] for targets [B T] that continue a cache's rows; memory is None where the cache has it."""


Writer: TypeAlias = CausalLM | EncoderDecoder
"""A model that writes tokens."""
