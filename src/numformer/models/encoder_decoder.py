"""What models have in common that read a source and write a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numformer import ops
from numformer._notices import amount
from numformer.autograd import Array, ArrayLike, Tensor
from numformer.errors import InputError
from numformer.models.backbone import place
from numformer.models.config import ArchitectureConfig
from numformer.nn.cache import EncoderDecoderCache
from numformer.nn.module import Module


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(ArchitectureConfig):
    """What the configs of published encoder-decoders have, whose sources and targets share a vocabulary."""

    vocab_size: int = 0
    """Number of distinct tokens of sources and targets."""
    num_encoder_layers: int = 3
    """Number of encoder layers."""
    num_decoder_layers: int = 3
    """Number of decoder layers."""
    pad_id: int = 0
    """The token that fills a batch up."""
    start_id: int = 0
    """The token that targets begin with."""

    lengths: ClassVar[tuple[str, ...]] = (
        *("d_model", "num_heads", "d_ff", "max_seq_len", "num_encoder_layers", "num_decoder_layers"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.start_id) is not int or self.start_id < 0 or self.start_id >= self.vocab_size > 0:
            raise InputError(f"start_id must be one of the {self.vocab_size} tokens, got {self.start_id!r}")

    @property
    def src_vocab_size(self) -> int:
        """The number of distinct tokens of sources."""
        return self.vocab_size

    @property
    def tgt_vocab_size(self) -> int:
        """The number of distinct tokens of targets."""
        return self.vocab_size

    @property
    def depth(self) -> str:
        """The numbers of layers, in words: "3 encoder and 2 decoder layers"."""
        return f"{self.num_encoder_layers} encoder and {amount(self.num_decoder_layers, 'decoder layers')}"


class EncoderDecoderModel(Module):
    """Predict every next token of a target from a source, src [B S], tgt [B T] -> logits [B T V].

    A subclass has an `embedding`, an `encoder` and a `decoder` and writes `_logits`, and `_encoded` and `_decoded` too where
    source and target have embeddings of their own. Its config has max_seq_len, num_decoder_layers, pad_id, src_vocab_size and
    tgt_vocab_size. With `start_id` in the config targets begin with that token, otherwise with the tokenizer's begin token.
    With `frames_texts` a begin token stands before every text, too.
    """

    frames_texts: ClassVar[bool] = False
    config: Any
    embedding: Any
    encoder: Any
    decoder: Any

    def forward(
        self, src: ArrayLike, tgt: ArrayLike, src_mask: ArrayLike | None = None, tgt_mask: ArrayLike | None = None
    ) -> Tensor:
        """Return logits [B T V]; the masks [B S] and [B T] are False at padding, by default where src is `pad_id`.

        A target padded on the right needs no mask, since no real position sees what comes after it. A causal matrix [T T]
        as `tgt_mask` says what holds anyway.
        """
        src_mask = self.padding_mask(src) if src_mask is None else src_mask
        return self.decode(tgt, self.encode(src, src_mask), src_mask, tgt_mask)

    if TYPE_CHECKING:
        __call__ = forward

    def encode(self, src: ArrayLike, src_mask: ArrayLike | None = None) -> Tensor:
        """Return what the decoder attends to, src [B S] -> [B S D]; a source over the context length is an InputError."""
        ids = ops.as_ids(src)
        _, mask = place(ids, self.padding_mask(src) if src_mask is None else src_mask, None, self.config.max_seq_len)
        return self._encoded(ids, mask)

    def decode(
        self,
        tgt: ArrayLike,
        memory: Array | None,
        src_mask: ArrayLike | None = None,
        tgt_mask: ArrayLike | None = None,
        cache: EncoderDecoderCache | None = None,
    ) -> Tensor:
        """Return logits [B T V] given the encoder's output [B S D]; with a cache tgt continues what its rows hold.

        A cache keeps what it needs of the encoder's output, which may be None after the first tokens.
        """
        ids, memory_mask = ops.as_ids(tgt), None if src_mask is None else ops.key_mask(src_mask)
        tgt_mask = None if tgt_mask is None else ops.target_mask(tgt_mask, ids)
        positions, mask = place(ids, tgt_mask, cache, self.config.max_seq_len)
        x = self._decoded(ids, positions, memory, memory_mask=memory_mask, mask=mask, cache=cache)
        if cache is not None:
            cache.advance(ids.shape[1])
        return self._logits(x)

    def _encoded(self, ids: Array, mask: Any) -> Tensor:
        encoded: Tensor = self.encoder(self.embedding(ids), mask)
        return encoded

    def _decoded(self, ids: Array, positions: Any, memory: Array | None, **settings: Any) -> Tensor:
        decoded: Tensor = self.decoder(self.embedding(ids), memory, positions=positions, **settings)
        return decoded

    def _logits(self, x: Tensor) -> Tensor:
        """Return the logits [B T V] of what comes out of the decoder [B T D]."""
        raise TypeError(f"{type(self).__name__} has no logits")

    def padding_mask(self, tokens: ArrayLike) -> Array:
        """Return the mask [B 1 1 S] that is False where a token is `pad_id`."""
        return ops.padding_mask(ops.as_ids(tokens), self.config.pad_id)

    def make_cache(self, num_rows: int) -> EncoderDecoderCache:
        """Return an empty cache for so many targets."""
        return EncoderDecoderCache(self.config.num_decoder_layers, num_rows, self.config.max_seq_len)
