"""What models have in common that read a source and write a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numformer import ops
from numformer._notices import amount
from numformer.autograd import Array, ArrayLike, Tensor
from numformer.errors import InputError
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

    A subclass writes `encode` and `decode`; its config has max_seq_len, num_decoder_layers, pad_id, src_vocab_size and
    tgt_vocab_size. With `start_id` in the config targets begin with that token, otherwise with the tokenizer's begin token.
    With `frames_texts` a begin token stands before every text, too.
    """

    frames_texts: ClassVar[bool] = False
    config: Any

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
        """Return what the decoder attends to, src [B S] -> [B S D]."""
        raise TypeError(f"{type(self).__name__} has no encode")

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
        raise TypeError(f"{type(self).__name__} has no decode")

    def padding_mask(self, tokens: ArrayLike) -> Array:
        """Return the mask [B 1 1 S] that is False where a token is `pad_id`."""
        return ops.padding_mask(ops.as_ids(tokens), self.config.pad_id)

    def make_cache(self, num_rows: int) -> EncoderDecoderCache:
        """Return an empty cache for so many targets."""
        return EncoderDecoderCache(self.config.num_decoder_layers, num_rows, self.config.max_seq_len)
