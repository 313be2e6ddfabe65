"""The encoder-decoder of Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from numformer import ops, random
from numformer.errors import InputError
from numformer.models.config import TransformerConfig
from numformer.nn.cache import EncoderDecoderCache
from numformer.nn.layers import Embedding, LayerNorm, LearnedPositions, Linear, PositionalEncoding, reseed_dropout
from numformer.nn.module import Module
from numformer.nn.stack import Stack
from numformer.nn.transformer import DecoderLayer, EncoderLayer


class Transformer(Module):
    """Predict every next token of a target from a source, src [B S], tgt [B T] -> logits [B T V].

    Takes sizes, `Transformer(src_vocab_size, tgt_vocab_size, d_model, …)` with any other field of TransformerConfig as a
    keyword, or a TransformerConfig alone. Made from sizes, the two vocabularies have tables of their own unless
    `share_embeddings` is given. Raises InputError when a size is missing or out of range.
    """

    config_class: ClassVar[type[TransformerConfig]] = TransformerConfig

    def __init__(
        self,
        src_vocab_size: int | TransformerConfig,
        tgt_vocab_size: int | None = None,
        d_model: int = 512,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        d_ff: int = 2048,
        max_seq_len: int = 512,
        dropout: float = 0.1,
        *,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        if isinstance(src_vocab_size, TransformerConfig):
            config = src_vocab_size
            if settings:
                raise InputError(f"Transformer takes a config or settings, not both; got {', '.join(settings)} as well")
        else:
            config = TransformerConfig(
                src_vocab_size=src_vocab_size,
                tgt_vocab_size=src_vocab_size if tgt_vocab_size is None else tgt_vocab_size,
                d_model=d_model,
                num_heads=num_heads,
                num_encoder_layers=num_encoder_layers,
                num_decoder_layers=num_decoder_layers,
                d_ff=d_ff,
                max_seq_len=max_seq_len,
                dropout=dropout,
                **{"share_embeddings": False, **settings},
            )
        config.check_vocabulary()
        self.config = config
        generator = random.generator(seed)
        self.src_embedding = self._embedding(config.src_vocab_size, generator)
        if config.share_embeddings:
            self.tgt_embedding = self.src_embedding
        else:
            self.tgt_embedding = self._embedding(config.tgt_vocab_size, generator)
        self.src_positions, self.tgt_positions = self._positions(generator), self._positions(generator)
        self.encoder = Encoder(config, generator)
        self.decoder = Decoder(config, generator)
        self.output = None if config.tie_output else Linear(config.d_model, config.tgt_vocab_size, generator=generator)
        reseed_dropout(self, seed)

    def forward(self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None) -> Any:
        """Return logits [B T V]; the masks [B S] and [B T] are False at padding, by default where src is `pad_id`.

        A target padded on the right needs no mask, since no real position sees what comes after it.
        """
        src_mask = self.padding_mask(src) if src_mask is None else src_mask
        return self.decode(tgt, self.encode(src, src_mask), src_mask, tgt_mask)

    def encode(self, src: Any, src_mask: Any = None) -> Any:
        """Return what the decoder attends to, src [B S] -> [B S D]."""
        mask = self.padding_mask(src) if src_mask is None else ops.key_mask(src_mask)
        return self.encoder(self.src_positions(self._scaled(self.src_embedding(ops.as_ids(src)))), mask)

    def decode(self, tgt: Any, memory: Any, src_mask: Any = None, tgt_mask: Any = None, cache: Any = None) -> Any:
        """Return logits [B T V] given the encoder's output [B S D]; with a cache tgt continues what its rows hold.

        A cache keeps what it needs of the encoder's output, which may be None after the first tokens.
        """
        memory_mask = None if src_mask is None else ops.key_mask(src_mask)
        mask = None if tgt_mask is None else ops.key_mask(tgt_mask)  # real tokens come first and see no later padding
        x, positions = self._scaled(self.tgt_embedding(ops.as_ids(tgt))), None
        if cache is not None:
            positions, mask = cache.positions_and_mask(x.shape[1])
        x = self.tgt_positions(x, positions)
        x = self.decoder(x, memory, memory_mask, mask, cache)
        return ops.linear(x, self.tgt_embedding.weight) if self.output is None else self.output(x)

    def padding_mask(self, tokens: Any) -> Any:
        """Return the mask [B 1 1 S] that is False where a token is `pad_id`."""
        return ops.padding_mask(ops.as_ids(tokens), self.config.pad_id)

    def make_cache(self, num_rows: int) -> EncoderDecoderCache:
        """Return an empty cache for so many targets."""
        return EncoderDecoderCache(self.config.num_decoder_layers, num_rows, self.config.max_seq_len)

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of config.json."""
        return self.config.to_disk() | {"architectures": ["TransformerForConditionalGeneration"]}

    def _embedding(self, vocab_size: int, generator: Any) -> Embedding:
        """Return a table whose rows, scaled up by √D, have variance 1, and whose products as an output layer do too."""
        return Embedding(vocab_size, self.config.d_model, std=self.config.d_model**-0.5, generator=generator)

    def _scaled(self, x: Any) -> Any:
        return x * math.sqrt(self.config.d_model)  # §3.4

    def _positions(self, generator: Any) -> Module:
        config = self.config
        if config.positions == "sinusoidal":
            return PositionalEncoding(config.d_model, config.max_seq_len, config.dropout)
        return LearnedPositions(config.max_seq_len, config.d_model, config.dropout, generator=generator)


class Encoder(Module):
    """Encoder layers, and a LayerNorm at the end of a pre-norm stack, x [B S D] -> [B S D]."""

    def __init__(self, config: TransformerConfig, generator: Any) -> None:
        self.layers = Stack(_layer(EncoderLayer, config, generator) for _ in range(config.num_encoder_layers))
        self.norm = LayerNorm(config.d_model, config.layer_norm_eps) if config.pre_norm else None

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Encode; mask as in MultiHeadAttention."""
        x = self.layers(x, mask=mask)
        return x if self.norm is None else self.norm(x)


class Decoder(Module):
    """Decoder layers, and a LayerNorm at the end of a pre-norm stack, x [B T D] -> [B T D]."""

    def __init__(self, config: TransformerConfig, generator: Any) -> None:
        self.layers = Stack(_layer(DecoderLayer, config, generator) for _ in range(config.num_decoder_layers))
        self.norm = LayerNorm(config.d_model, config.layer_norm_eps) if config.pre_norm else None

    def forward(self, x: Any, memory: Any, memory_mask: Any = None, mask: Any = None, cache: Any = None) -> Any:
        """Decode given memory [B S D]; masks as in DecoderLayer."""
        x = self.layers(x, memory, memory_mask=memory_mask, mask=mask, cache=cache)
        if cache is not None:
            cache.advance(x.shape[1])
        return x if self.norm is None else self.norm(x)


def _layer(kind: type, config: TransformerConfig, generator: Any) -> Any:
    return kind(
        config.d_model,
        config.num_heads,
        config.ff_width,
        config.dropout,
        pre_norm=config.pre_norm,
        activation=config.activation,
        eps=config.layer_norm_eps,
        generator=generator,
    )
