"""The encoder-decoder of Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypedDict, Unpack

from numformer import ops, random
from numformer._names import takes_synonyms
from numformer._notices import amount
from numformer.autograd import Array, ArrayLike, Tensor
from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig
from numformer.models.encoder_decoder import EncoderDecoderModel
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.nn import init
from numformer.nn.cache import EncoderDecoderCache
from numformer.nn.layers import Embedding, LayerNorm, Linear
from numformer.nn.module import Module
from numformer.nn.positions import LearnedPositions, PositionalEncoding
from numformer.nn.stack import Stack
from numformer.nn.transformer import DecoderLayer, EncoderLayer, reseed_dropout


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class TransformerConfig(ArchitectureConfig):
    """The encoder-decoder of Vaswani et al. 2017, with today's choices as settings."""

    layer_norm_eps: float = 1e-5
    """Added to the variance in every LayerNorm."""
    src_vocab_size: int = 0
    """Number of distinct tokens of the source; 0 takes it from the tokenizer."""
    tgt_vocab_size: int = 0
    """Number of distinct tokens of the target; 0 takes it from the tokenizer."""
    num_encoder_layers: int = 3
    """Number of encoder layers."""
    num_decoder_layers: int = 3
    """Number of decoder layers."""
    max_seq_len: int = 256
    """The most tokens of a source or a target."""
    dropout: float = 0.1
    """Share of elements dropped while training, after the embedding, in the attention and on the residual branches."""
    activation: str = "relu"
    """One of gelu_tanh, gelu, relu, silu."""
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """How positions are told apart."""
    pre_norm: bool = True
    """Normalise before each part (trains more easily) instead of after it (as published)."""
    share_embeddings: bool = True
    """One table of embeddings for source and target; needs vocabularies of one size."""
    tie_output: bool = True
    """The output layer shares its weight with the target's embedding."""
    pad_id: int = 0
    """The token that fills a batch up."""

    model_type: ClassVar[str] = "transformer"
    lengths: ClassVar[tuple[str, ...]] = (
        *("d_model", "num_heads", "d_ff", "max_seq_len", "num_encoder_layers", "num_decoder_layers"),
    )
    vocabularies: ClassVar[tuple[str, ...]] = ("src_vocab_size", "tgt_vocab_size")
    switches: ClassVar[tuple[str, ...]] = ("pre_norm", "share_embeddings", "tie_output")
    names_on_disk: ClassVar[dict[str, str]] = {
        "src_vocab_size": "vocab_size",
        "tgt_vocab_size": "decoder_vocab_size",
        "d_model": "d_model",
        "num_heads": "num_attention_heads",
        "num_encoder_layers": "encoder_layers",
        "num_decoder_layers": "decoder_layers",
        "d_ff": "ffn_dim",
        "max_seq_len": "max_position_embeddings",
        "dropout": "dropout",
        "activation": "activation_function",
        "layer_norm_eps": "layer_norm_eps",
        "positions": "position_embedding_type",
        "pre_norm": "normalize_before",
        "share_embeddings": "share_encoder_decoder_embeddings",
        "tie_output": "tie_word_embeddings",
        "pad_id": "pad_token_id",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = tuple(names_on_disk.values())

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions not in ("sinusoidal", "learned"):
            raise InputError(f"unknown positions {self.positions!r}: choose sinusoidal or learned")
        if self.share_embeddings and self.src_vocab_size != self.tgt_vocab_size:
            raise InputError(
                f"share_embeddings needs vocabularies of one size, got src_vocab_size={self.src_vocab_size} "
                f"and tgt_vocab_size={self.tgt_vocab_size}"
            )

    @property
    def depth(self) -> str:
        """The numbers of layers, in words: "3 encoder and 2 decoder layers"."""
        return f"{self.num_encoder_layers} encoder and {amount(self.num_decoder_layers, 'decoder layers')}"

    @classmethod
    def from_general(cls, settings: dict[str, Any]) -> Self:
        """Return the config with these fields of a ModelConfig, its vocabulary and depth those of both sides."""
        both = {"vocab_size": ("src_vocab_size", "tgt_vocab_size")}
        both["num_layers"] = ("num_encoder_layers", "num_decoder_layers")
        return cls(**{name: value for given, value in settings.items() for name in both.get(given, (given,))})


class TransformerSettings(TypedDict, total=False):
    """The types of the keywords that Transformer takes besides its sizes: other fields of TransformerConfig."""

    max_len: int
    activation: str
    layer_norm_eps: float
    positions: Literal["sinusoidal", "learned"]
    pre_norm: bool
    share_embeddings: bool
    tie_output: bool
    pad_id: int


@register(
    TransformerConfig, Layout(), task="seq2seq", class_on_disk="TransformerForConditionalGeneration", is_default=True
)
class Transformer(EncoderDecoderModel):
    """Predict every next token of a target from a source, src [B S], tgt [B T] -> logits [B T V].

    Takes sizes, `Transformer(src_vocab_size, tgt_vocab_size, d_model, …)` with any other field of TransformerConfig as a
    keyword, or a TransformerConfig alone; what is not given is as in TransformerConfig. Made from sizes, the two
    vocabularies have tables of their own unless `share_embeddings` is given. Raises InputError when a size is missing or
    out of range, and for an unknown keyword.
    """

    def __init__(
        self,
        src_vocab_size: int | TransformerConfig,
        tgt_vocab_size: int | None = None,
        d_model: int | None = None,
        num_heads: int | None = None,
        num_encoder_layers: int | None = None,
        num_decoder_layers: int | None = None,
        d_ff: int | None = None,
        max_seq_len: int | None = None,
        dropout: float | None = None,
        *,
        seed: int = 0,
        **settings: Unpack[TransformerSettings],
    ) -> None:
        sizes = {"tgt_vocab_size": tgt_vocab_size, "d_model": d_model, "num_heads": num_heads}
        sizes |= {"num_encoder_layers": num_encoder_layers, "num_decoder_layers": num_decoder_layers}
        sizes |= {"d_ff": d_ff, "max_seq_len": max_seq_len}
        given = {name: value for name, value in {**sizes, "dropout": dropout}.items() if value is not None} | settings
        config = _config_of(src_vocab_size, given)
        config.check_vocabulary()
        self.config = config
        with init.undrawn():
            self.src_embedding = self._embedding(config.src_vocab_size)
            if config.share_embeddings:
                self.tgt_embedding = self.src_embedding
            else:
                self.tgt_embedding = self._embedding(config.tgt_vocab_size)
            self.src_positions, self.tgt_positions = self._positions(), self._positions()
            self.encoder, self.decoder = Encoder(config), Decoder(config)
            self.output = None if config.tie_output else Linear(config.d_model, config.tgt_vocab_size)
        init_weights(self, seed)
        reseed_dropout(self, seed)

    def _encoded(self, ids: Array, mask: Any) -> Tensor:
        return self.encoder(self.src_positions(self.src_embedding(ids)), mask)

    def _decoded(self, ids: Array, positions: Any, memory: Array | None, **settings: Any) -> Tensor:
        return self.decoder(self.tgt_positions(self.tgt_embedding(ids), positions), memory, **settings)

    def _logits(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.tgt_embedding.weight) if self.output is None else self.output(x)

    def _embedding(self, vocab_size: int) -> Embedding:
        return Embedding(vocab_size, self.config.d_model, scaled=True)

    def _positions(self) -> PositionalEncoding | LearnedPositions:
        config = self.config
        if config.positions == "sinusoidal":
            return PositionalEncoding(config.d_model, config.max_seq_len, config.dropout)
        return LearnedPositions(config.max_seq_len, config.d_model, config.dropout)


class Encoder(Module):
    """Encoder layers, and a LayerNorm at the end of a pre-norm stack, x [B S D] -> [B S D]."""

    def __init__(self, config: TransformerConfig) -> None:
        self.layers = Stack(_layer(EncoderLayer, config) for _ in range(config.num_encoder_layers))
        self.norm = LayerNorm(config.d_model, config.layer_norm_eps) if config.pre_norm else None

    def forward(self, x: Array, mask: ArrayLike | None = None) -> Tensor:
        """Encode; mask as in MultiHeadAttention."""
        y = self.layers(x, mask=mask)
        return y if self.norm is None else self.norm(y)


class Decoder(Module):
    """Decoder layers, and a LayerNorm at the end of a pre-norm stack, x [B T D] -> [B T D]."""

    def __init__(self, config: TransformerConfig) -> None:
        self.layers = Stack(_layer(DecoderLayer, config) for _ in range(config.num_decoder_layers))
        self.norm = LayerNorm(config.d_model, config.layer_norm_eps) if config.pre_norm else None

    def forward(
        self,
        x: Array,
        memory: Array | None,
        memory_mask: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        cache: EncoderDecoderCache | None = None,
    ) -> Tensor:
        """Decode given memory [B S D]; masks as in DecoderLayer."""
        y = self.layers(x, memory, memory_mask=memory_mask, mask=mask, cache=cache)
        return y if self.norm is None else self.norm(y)


def init_weights(model: Transformer, seed: int) -> None:
    """Draw the weights by Glorot's rule, but tables of embeddings from N(0, 1/D) and learned positions from N(0, 0.02²).

    The rows of a table, scaled up by √D, then have variance 1, and so have their products as an output layer.
    """
    generator = random.generator(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("embedding.weight"):
            init.draw_normal(parameter, model.config.d_model**-0.5, generator)
        elif name.endswith("positions.weight"):
            init.draw_normal(parameter, 0.02, generator)
        elif parameter.ndim == 2:
            init.draw_xavier(parameter, generator)


def _config_of(first: int | TransformerConfig, given: dict[str, Any]) -> TransformerConfig:
    """Return the config that a Transformer was given whole, or in sizes."""
    if isinstance(first, TransformerConfig):
        if given:
            raise InputError(f"Transformer takes a config or settings, not both; got {', '.join(given)} as well")
        return first
    return TransformerConfig(src_vocab_size=first, **{"tgt_vocab_size": first, "share_embeddings": False, **given})


def _layer(kind: type[Any], config: TransformerConfig) -> Any:
    return kind(
        config.d_model,
        config.num_heads,
        config.ff_width,
        config.dropout,
        pre_norm=config.pre_norm,
        activation=config.activation,
        eps=config.layer_norm_eps,
    )
