"""BART: an encoder-decoder trained to repair damaged text (Lewis et al. 2020, arXiv:1910.13461).

The encoder-decoder of 2017 with positions that are learned, a norm after the embeddings, and a bias on the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numformer import ops, random
from numformer._names import takes_synonyms
from numformer.autograd import Array, ArrayLike, Tensor, namespace_of
from numformer.errors import InputError
from numformer.models.encoder_decoder import EncoderDecoderConfig, EncoderDecoderModel
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.nn import init
from numformer.nn.cache import EncoderDecoderCache
from numformer.nn.dropout import Dropout
from numformer.nn.layers import Embedding, LayerNorm
from numformer.nn.module import Module
from numformer.nn.stack import Stack
from numformer.nn.transformer import DecoderLayer, EncoderLayer, reseed_dropout

FIRST_POSITION = 2  # rows of the tables of positions that stand for none
STD = 0.02  # of the weights at the start
SIDES = ("encoder", "decoder")


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class BartConfig(EncoderDecoderConfig):
    """An encoder-decoder with the layout of BART."""

    max_seq_len: int = 256
    """The most tokens of a source or a target."""
    dropout: float = 0.1
    """Share of elements dropped while training, after the embedding, in the attention and on the residual branches."""
    activation: str = "gelu"
    """One of gelu_tanh, gelu, relu, silu."""
    scale_embeddings: bool = False
    """Embeddings are multiplied by the root of their width."""
    pad_id: int = 1
    """The token that fills a batch up."""
    start_id: int = 2
    """The token that targets begin with."""

    model_type: ClassVar[str] = "bart"
    layer_norm_eps: ClassVar[float] = 1e-5
    positive: ClassVar[tuple[str, ...]] = ()
    switches: ClassVar[tuple[str, ...]] = ("scale_embeddings",)
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "d_model",
        "num_heads": "encoder_attention_heads",
        "num_encoder_layers": "encoder_layers",
        "num_decoder_layers": "decoder_layers",
        "d_ff": "encoder_ffn_dim",
        "max_seq_len": "max_position_embeddings",
        "dropout": "dropout",
        "activation": "activation_function",
        "scale_embeddings": "scale_embedding",
        "pad_id": "pad_token_id",
        "start_id": "decoder_start_token_id",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "d_model", "encoder_attention_heads", "encoder_layers", "decoder_layers", "encoder_ffn_dim"),
        "max_position_embeddings",
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"is_encoder_decoder": True, "tie_word_embeddings": True}

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        of_both = {f"{side}_attention_heads": self.num_heads for side in SIDES}
        of_both |= {f"{side}_ffn_dim": self.ff_width for side in SIDES}
        dropouts = {"attention_dropout": self.dropout, "activation_dropout": self.dropout}
        return super().to_disk() | of_both | dropouts

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        for key in ("attention_heads", "ffn_dim"):
            encoder, decoder = (keys.get(f"{side}_{key}", keys.get(f"encoder_{key}")) for side in SIDES)
            if encoder != decoder:
                raise InputError(
                    f"config.json: decoder_{key}={decoder!r} is not supported beside encoder_{key}={encoder!r}"
                )
        return super()._settings_of(keys)


LAYOUT = Layout(
    prefix="model.",
    backbone="""
        embedding                              shared
        encoder.position_embedding             encoder.embed_positions
        encoder.norm                           encoder.layernorm_embedding
        encoder.layers.*.self_attn             encoder.layers.*.self_attn
        encoder.layers.*.residual1.norm        encoder.layers.*.self_attn_layer_norm
        encoder.layers.*.feed_forward.linear1  encoder.layers.*.fc1
        encoder.layers.*.feed_forward.linear2  encoder.layers.*.fc2
        encoder.layers.*.residual2.norm        encoder.layers.*.final_layer_norm
        decoder.position_embedding             decoder.embed_positions
        decoder.norm                           decoder.layernorm_embedding
        decoder.layers.*.self_attn             decoder.layers.*.self_attn
        decoder.layers.*.residual1.norm        decoder.layers.*.self_attn_layer_norm
        decoder.layers.*.cross_attn            decoder.layers.*.encoder_attn
        decoder.layers.*.residual2.norm        decoder.layers.*.encoder_attn_layer_norm
        decoder.layers.*.feed_forward.linear1  decoder.layers.*.fc1
        decoder.layers.*.feed_forward.linear2  decoder.layers.*.fc2
        decoder.layers.*.residual3.norm        decoder.layers.*.final_layer_norm
    """,
    heads={"seq2seq": "logits_bias final_logits_bias"},
    ignored=("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"),  # where they are a second time
)


@register(BartConfig, LAYOUT, task="seq2seq", class_on_disk="BartForConditionalGeneration", class_prefix="Bart")
class Bart(EncoderDecoderModel):
    """Predict every next token of a target from a source, src [B S], tgt [B T] -> logits [B T V]."""

    frames_texts = True
    config: BartConfig
    logits_bias: Tensor

    def __init__(self, config: BartConfig, *, seed: int = 0) -> None:
        config.check_vocabulary()
        self.config = config
        with init.undrawn():
            self.embedding = Embedding(config.vocab_size, config.d_model, scaled=config.scale_embeddings)
            self.encoder, self.decoder = BartEncoder(config), BartDecoder(config)
        xp = namespace_of(None)
        self.register_buffer("logits_bias", xp.zeros((1, config.vocab_size), dtype=xp.float32))
        init_weights(self, seed)
        reseed_dropout(self, seed)

    def _logits(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.embedding.weight) + self.logits_bias


class Side(Module):
    """What encoder and decoder have in common: positions added to embeddings, and a norm before the first layer."""

    def __init__(self, config: BartConfig, kind: type[EncoderLayer | DecoderLayer], num_layers: int) -> None:
        D = config.d_model
        self.position_embedding = Embedding(FIRST_POSITION + config.max_seq_len, D)
        self.norm = LayerNorm(D, config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)
        self.layers = Stack(
            kind(
                *(D, config.num_heads, config.ff_width, config.dropout),
                pre_norm=False,
                activation=config.activation,
                eps=config.layer_norm_eps,
            )
            for _ in range(num_layers)
        )

    def placed(self, x: Array, positions: Any = None) -> Tensor:
        """Add the vectors of positions 0..T-1, or of these [B T], to embeddings [B T D], and normalise."""
        if positions is None:
            rows: Any = self.position_embedding.weight[FIRST_POSITION : FIRST_POSITION + x.shape[1]]
        else:
            rows = self.position_embedding(positions + FIRST_POSITION)
        return self.dropout(self.norm(ops.add(x, rows)))


class BartEncoder(Side):
    """Embeddings [B S D] -> [B S D]."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config, EncoderLayer, config.num_encoder_layers)

    def forward(self, x: Array, mask: ArrayLike | None = None) -> Tensor:
        """Encode; mask as in MultiHeadAttention."""
        return self.layers(self.placed(x), mask=mask)


class BartDecoder(Side):
    """Embeddings [B T D] and memory [B S D] -> [B T D]."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config, DecoderLayer, config.num_decoder_layers)

    def forward(
        self,
        x: Array,
        memory: Array | None,
        memory_mask: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        cache: EncoderDecoderCache | None = None,
        positions: Array | None = None,
    ) -> Tensor:
        """Decode given memory; masks as in DecoderLayer."""
        return self.layers(self.placed(x, positions), memory, memory_mask=memory_mask, mask=mask, cache=cache)


def init_weights(model: Bart, seed: int) -> None:
    """Draw every matrix from N(0, 0.02²)."""
    generator = random.generator(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            init.draw_normal(parameter, STD, generator)
