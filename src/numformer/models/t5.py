"""T5: an encoder-decoder that knows positions by distances alone (Raffel et al. 2020, arXiv:1910.10683).

Distances fall into buckets, and every head adds a number of its own per bucket to its scores, the same in all layers. Scores
are not scaled, norms have no mean, no map has a bias. T5 v1.1 and Flan-T5 have gated feed-forward layers and an output of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numformer import ops, random
from numformer._names import takes_synonyms
from numformer.autograd import Array, ArrayLike, Tensor, namespace_of
from numformer.errors import InputError
from numformer.models.config import OTHER_ACTIVATIONS
from numformer.models.encoder_decoder import EncoderDecoderConfig, EncoderDecoderModel
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.nn import init
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.cache import EncoderDecoderCache
from numformer.nn.dropout import Dropout
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import Embedding, Linear, RMSNorm
from numformer.nn.module import Module
from numformer.nn.stack import Stack
from numformer.nn.transformer import DecoderLayer, Layer, Residual, reseed_dropout


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class T5Config(EncoderDecoderConfig):
    """An encoder-decoder with the layout of T5."""

    head_dim: int = 64
    """Width of a head."""
    max_seq_len: int = 512
    """The most tokens of a source or a target; nothing in the weights depends on it."""
    dropout: float = 0.1
    """Share of elements dropped while training, after the embedding, in the layers and at the end of both stacks."""
    activation: str = "relu"
    """One of gelu_tanh, gelu, relu, silu."""
    gated: bool = False
    """The activation is multiplied by a second map of its input."""
    num_buckets: int = 32
    """Number of buckets that distances fall into."""
    max_distance: int = 128
    """Distance from which all are in one bucket."""
    rms_norm_eps: float = 1e-6
    """Added to the mean square in every RMSNorm."""
    tie_embeddings: bool = True
    """The output layer shares its weight with the embedding, and reads what comes out of the decoder times 1/√d_model."""

    model_type: ClassVar[str] = "t5"
    lengths: ClassVar[tuple[str, ...]] = (*EncoderDecoderConfig.lengths, "head_dim", "num_buckets", "max_distance")
    positive: ClassVar[tuple[str, ...]] = ("rms_norm_eps",)
    switches: ClassVar[tuple[str, ...]] = ("gated", "tie_embeddings")
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "d_model",
        "num_heads": "num_heads",
        "head_dim": "d_kv",
        "num_encoder_layers": "num_layers",
        "num_decoder_layers": "num_decoder_layers",
        "d_ff": "d_ff",
        "max_seq_len": "n_positions",
        "dropout": "dropout_rate",
        "activation": "feed_forward_proj",
        "num_buckets": "relative_attention_num_buckets",
        "max_distance": "relative_attention_max_distance",
        "rms_norm_eps": "layer_norm_epsilon",
        "tie_embeddings": "tie_word_embeddings",
        "pad_id": "pad_token_id",
        "start_id": "decoder_start_token_id",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = ("vocab_size", "d_model", "num_heads", "d_kv", "num_layers", "d_ff")
    fixed_on_disk: ClassVar[dict[str, Any]] = {"is_encoder_decoder": True}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_buckets < 4 or self.max_distance <= self.num_buckets // 2:
            raise InputError(
                "there must be at least 4 buckets, and a max_distance above half their number, "
                f"got num_buckets={self.num_buckets} and max_distance={self.max_distance}"
            )
        if self.gated and self.activation == "gelu":
            raise InputError("a gated feed-forward layer of T5 takes gelu_tanh for gelu: no file can say the other")

    def _check_heads(self) -> None:
        """Accept any number of heads: they have a width of their own."""

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        word = "gelu" if self.gated and self.activation == "gelu_tanh" else self.activations_on_disk[self.activation]
        return super().to_disk() | {
            "feed_forward_proj": f"gated-{word}" if self.gated else word,
            "d_ff": self.ff_width,
            "scale_decoder_outputs": self.tie_embeddings,
        }

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        settings = super()._settings_of(keys)
        word = str(keys.get("feed_forward_proj", "relu"))
        name = word.removeprefix("gated-")
        settings["gated"] = name != word
        known = {there: here for here, there in cls.activations_on_disk.items()} | OTHER_ACTIVATIONS
        settings["activation"] = "gelu_tanh" if word == "gated-gelu" else known.get(name, name)
        if settings.get("num_decoder_layers") is None:
            settings["num_decoder_layers"] = settings["num_encoder_layers"]
        if "scale_decoder_outputs" in keys:  # newer files say that it is tied where it is not
            settings["tie_embeddings"] = keys["scale_decoder_outputs"]
        return settings


def layout_of(config: T5Config) -> Layout:
    """Return the names on disk, where a plain feed-forward layer is called otherwise than a gated one."""
    first = "wi_0" if config.gated else "wi"
    names = "embedding shared\noutput lm_head\n"
    for side, parts in (("encoder", ("SelfAttention",)), ("decoder", ("SelfAttention", "EncDecAttention"))):
        block = f"{side}.block.*.layer"
        names += f"{side}.distances {side}.block.0.layer.0.SelfAttention.relative_attention_bias\n"
        names += f"{side}.norm {side}.final_layer_norm\n"
        for number, (ours, part) in enumerate(zip(("self_attn", "cross_attn"), parts, strict=False)):
            for letter in "qkv":
                names += f"{side}.layers.*.{ours}.{letter}_proj {block}.{number}.{part}.{letter}\n"
            names += f"{side}.layers.*.{ours}.out_proj {block}.{number}.{part}.o\n"
        for number, theirs in enumerate((first, "wo", "wi_1"), 1):
            names += f"{side}.layers.*.feed_forward.linear{number} {block}.{len(parts)}.DenseReluDense.{theirs}\n"
        for number in range(len(parts) + 1):
            names += f"{side}.layers.*.residual{number + 1}.norm {block}.{number}.layer_norm\n"
    others = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")  # where they are a second time
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias"  # of the first files
    return Layout(backbone=names, ignored=(*others, unread))


@register(T5Config, layout_of, task="seq2seq", class_on_disk="T5ForConditionalGeneration", class_prefix="T5")
class T5(EncoderDecoderModel):
    """Predict every next token of a target from a source, src [B S], tgt [B T] -> logits [B T V]."""

    config: T5Config

    def __init__(self, config: T5Config, *, seed: int = 0) -> None:
        config.check_vocabulary()
        self.config = config
        with init.undrawn():
            self.embedding = Embedding(config.vocab_size, config.d_model)
            self.encoder, self.decoder = T5Encoder(config), T5Decoder(config)
            self.output = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size, bias=False)
        init_weights(self, seed)
        reseed_dropout(self, seed)

    def _logits(self, x: Tensor) -> Tensor:
        if self.output is None:
            return ops.linear(x * self.config.d_model**-0.5, self.embedding.weight)
        return self.output(x)


class Side(Module):
    """What encoder and decoder have in common: numbers for distances, layers, a norm at the end."""

    both_ways: ClassVar[bool]

    def __init__(self, config: T5Config, kind: type[EncoderBlock | DecoderBlock], num_layers: int) -> None:
        self.max_distance = config.max_distance
        self.distances = Embedding(config.num_buckets, config.num_heads)
        self.layers = Stack(kind(config) for _ in range(num_layers))
        self.norm = RMSNorm(config.d_model, config.rms_norm_eps)
        self.dropout = Dropout(config.dropout)

    def position_bias(self, positions: Any, length: int) -> Tensor:
        """Return what is added to the scores of queries at positions [B T] and keys at 0..length-1 -> [B H T S]."""
        xp, num_buckets = namespace_of(positions), self.distances.weight.shape[0]
        distances = xp.arange(length) - positions[..., None]
        buckets = ops.relative_buckets(distances, num_buckets, self.max_distance, both_ways=self.both_ways)
        rows = self.distances(xp.reshape(buckets, (-1,)))
        return rows.reshape(*buckets.shape, -1).transpose(0, 3, 1, 2)


class T5Encoder(Side):
    """Embeddings [B S D] -> [B S D]."""

    both_ways = True

    def __init__(self, config: T5Config) -> None:
        super().__init__(config, EncoderBlock, config.num_encoder_layers)

    def forward(self, x: Array, mask: ArrayLike | None = None) -> Tensor:
        """Encode; mask as in MultiHeadAttention."""
        length = x.shape[1]
        bias = self.position_bias(namespace_of(x).arange(length)[None], length)
        return self.dropout(self.norm(self.layers(self.dropout(x), bias, mask=mask)))


class T5Decoder(Side):
    """Embeddings [B T D] and memory [B S D] -> [B T D]."""

    both_ways = False

    def __init__(self, config: T5Config) -> None:
        super().__init__(config, DecoderBlock, config.num_decoder_layers)

    def forward(
        self,
        x: Array,
        memory: Array | None,
        memory_mask: ArrayLike | None = None,
        mask: Any = None,
        cache: EncoderDecoderCache | None = None,
        positions: Any = None,
    ) -> Tensor:
        """Decode given memory; masks as in DecoderLayer, positions [B T] from 0 by default."""
        num_keys = x.shape[1] if positions is None else mask.shape[-1] if mask is not None else int(positions.max()) + 1
        positions = namespace_of(x).arange(num_keys)[None] if positions is None else positions
        bias = self.position_bias(positions, num_keys)
        y = self.layers(self.dropout(x), memory, bias, memory_mask=memory_mask, mask=mask, cache=cache)
        return self.dropout(self.norm(y))


class EncoderBlock(Layer):
    """Pre-norm attention and feed-forward, x [B S D] and a bias [B H S S] -> [B S D]."""

    def __init__(self, config: T5Config) -> None:
        self.self_attn, self.feed_forward = make_attention(config), make_feed_forward(config)
        self.residual1, self.residual2 = (make_residual(config) for _ in range(2))

    def forward(self, x: Array, bias: Array, mask: ArrayLike | None = None) -> Tensor:  # type: ignore[override]
        """Transform x; mask and bias as in MultiHeadAttention."""
        return super().forward(x, mask, bias=bias)


class DecoderBlock(DecoderLayer):
    """Pre-norm attention to itself and to the memory, feed-forward, x [B T D] and a bias [B H T S] -> [B T D]."""

    def __init__(self, config: T5Config) -> None:
        self.self_attn, self.cross_attn = make_attention(config), make_attention(config)
        self.feed_forward = make_feed_forward(config)
        self.residual1, self.residual2, self.residual3 = (make_residual(config) for _ in range(3))

    def forward(self, x: Array, memory: Array | None, bias: Array, **settings: Any) -> Tensor:  # type: ignore[override]
        """Decode x given memory; `settings` are the masks and the cache of DecoderLayer."""
        return super().forward(x, memory, bias=bias, **settings)


def make_attention(config: T5Config) -> MultiHeadAttention:
    """Return attention whose scores are not scaled."""
    return MultiHeadAttention(
        *(config.d_model, config.num_heads, config.dropout), head_dim=config.head_dim, bias=False, scale=1.0
    )


def make_feed_forward(config: T5Config) -> FeedForward:
    """Return the feed-forward part, plain or gated."""
    return FeedForward(
        *(config.d_model, config.ff_width, config.dropout),
        activation=config.activation,
        gated=config.gated,
        bias=False,
    )


def make_residual(config: T5Config) -> Residual:
    """Return a pre-norm residual branch."""
    return Residual(RMSNorm(config.d_model, config.rms_norm_eps), config.dropout)


def init_weights(model: T5, seed: int) -> None:
    """Draw every matrix from N(0, 1/D), D being its number of inputs, and queries smaller, for their scores are not scaled.

    The embedding is drawn from N(0, 1).
    """
    generator, head_dim = random.generator(seed), model.config.head_dim
    for name, parameter in model.named_parameters():
        if name == "embedding.weight":
            init.draw_normal(parameter, 1.0, generator)
        elif parameter.ndim == 2:
            width = model.config.d_model if name.endswith("distances.weight") else parameter.shape[1]
            scale = head_dim**-0.5 if name.endswith("q_proj.weight") else 1.0
            init.draw_normal(parameter, scale * width**-0.5, generator)
