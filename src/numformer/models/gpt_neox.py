"""GPT-NeoX: attention and feed-forward side by side, rotary positions in a part of every head (Black et al. 2022).

arXiv:2204.06745; the Pythia models (Biderman et al. 2023, arXiv:2304.01373) are of this architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numformer import ops
from numformer._names import takes_synonyms
from numformer.autograd import Array
from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig
from numformer.models.decoder import Decoder
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.models.rope import RopeScaling, rope_settings, rope_to_disk, scaled_frequencies
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import LayerNorm, Linear
from numformer.nn.module import Module
from numformer.nn.transformer import Layer, Residual
from numformer.random import Generator


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class GPTNeoXConfig(ArchitectureConfig):
    """A decoder-only Transformer with the layout of GPT-NeoX and Pythia."""

    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    num_layers: int = 3
    """Number of layers."""
    activation: str = "gelu"
    """One of gelu_tanh, gelu, relu, silu."""
    layer_norm_eps: float = 1e-5
    """Added to the variance in every LayerNorm."""
    parallel_residual: bool = True
    """Attention and feed-forward read the same stream, instead of one what the other has added to it."""
    rotary_pct: float = 0.25
    """Share of every head that is rotated by its position."""
    rope_theta: float = 10000.0
    """Base of the wavelengths of the rotary positions."""
    rope_scaling: RopeScaling | None = None
    """How they are stretched over a context longer than the one trained on first."""
    tie_embeddings: bool = False
    """The output layer shares its weight with the token embedding."""

    model_type: ClassVar[str] = "gpt_neox"
    positive: ClassVar[tuple[str, ...]] = ("layer_norm_eps", "rotary_pct", "rope_theta")
    switches: ClassVar[tuple[str, ...]] = ("parallel_residual", "tie_embeddings")
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_heads": "num_attention_heads",
        "num_layers": "num_hidden_layers",
        "d_ff": "intermediate_size",
        "max_seq_len": "max_position_embeddings",
        "dropout": "hidden_dropout",
        "activation": "hidden_act",
        "layer_norm_eps": "layer_norm_eps",
        "parallel_residual": "use_parallel_residual",
        "rotary_pct": "rotary_pct",
        "rope_theta": "rotary_emb_base",
        "tie_embeddings": "tie_word_embeddings",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"),
        *("intermediate_size", "max_position_embeddings"),
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"attention_bias": True}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rotary_pct > 1.0 or self.rotary_width < 2 or self.rotary_width % 2:
            raise InputError(
                f"rotary_pct={self.rotary_pct} must rotate an even part of heads {self.d_model // self.num_heads} wide"
            )

    @property
    def rotary_width(self) -> int:
        """How many numbers of a head are rotated."""
        return int(self.d_model // self.num_heads * self.rotary_pct)

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json, rotary positions as newer and as older versions read them."""
        rope = rope_to_disk(self.rope_theta, self.rope_scaling)
        return super().to_disk() | {
            "intermediate_size": self.ff_width,
            "attention_dropout": self.dropout,
            "rope_parameters": rope | {"partial_rotary_factor": self.rotary_pct},
            "rope_scaling": None if self.rope_scaling is None else rope,
        }

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        settings, rope = super()._settings_of(keys), keys.get("rope_parameters")
        if isinstance(rope, dict) and "partial_rotary_factor" in rope:
            settings["rotary_pct"] = rope["partial_rotary_factor"]
            rope = {name: value for name, value in rope.items() if name != "partial_rotary_factor"}
        return settings | rope_settings(keys | {"rope_parameters": rope}, "rotary_emb_base")


LAYOUT = Layout(
    prefix="gpt_neox.",
    backbone="""
        token_embedding                embed_in
        layers.*.residual1.norm        layers.*.input_layernorm
        layers.*.self_attn.in_proj     layers.*.attention.query_key_value
        layers.*.self_attn.out_proj    layers.*.attention.dense
        layers.*.residual2.norm        layers.*.post_attention_layernorm
        layers.*.feed_forward.linear1  layers.*.mlp.dense_h_to_4h
        layers.*.feed_forward.linear2  layers.*.mlp.dense_4h_to_h
        norm                           final_layer_norm
    """,
    heads={"lm": "output embed_out", "classify": "head score", "tag": "head classifier", "qa": "head qa_outputs"},
    ignored=(
        *("layers.*.attention.bias", "layers.*.attention.masked_bias", "layers.*.attention.rotary_emb"),
        "embed_out",  # where it is tied
    ),
)


@register(GPTNeoXConfig, LAYOUT, task="lm", class_on_disk="GPTNeoXForCausalLM", class_prefix="GPTNeoX")
class GPTNeoX(Decoder):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a GPTNeoXConfig or its fields as keywords.
    """

    config_class = GPTNeoXConfig

    def make_layer(self, number: int) -> Layer:
        """Return a layer; all are alike."""
        return GPTNeoXLayer(self.config)

    def make_norm(self) -> Module:
        """Return the normalisation after the last layer."""
        return LayerNorm(self.config.d_model, self.config.layer_norm_eps)


class GPTNeoXLayer(Layer):
    """Pre-norm attention and feed-forward, side by side or one after the other, x [B T D] -> [B T D]."""

    def __init__(self, config: GPTNeoXConfig) -> None:
        D, eps = config.d_model, config.layer_norm_eps
        frequencies = scaled_frequencies(config.rotary_width, config.rope_theta, config.rope_scaling)
        self.is_parallel = config.parallel_residual
        self.residual1 = Residual(LayerNorm(D, eps), config.dropout)
        self.self_attn = HeadwiseAttention(D, config.num_heads, config.dropout, rope_frequencies=frequencies)
        self.residual2 = Residual(LayerNorm(D, eps), config.dropout)
        self.feed_forward = FeedForward(D, config.ff_width, dropout=None, activation=config.activation)


class HeadwiseAttention(MultiHeadAttention):
    """Attention to itself whose queries, keys and values come from one product, head by head, with one weight [H·3K D]."""

    def _add_projections(
        self, d_model: int, width: int, kv_width: int, bias: bool, generator: Generator | None
    ) -> None:
        self.in_proj = Linear(d_model, width + 2 * kv_width, bias, generator=generator)

    def _project(self, query: Array, key: Array | None, value: Array | None) -> tuple[Any, Any, Any]:
        assert key is value is query, "it attends to itself alone"
        B, T, D = query.shape
        heads = ops.reshape(self.in_proj(query), shape=(B, T, self.num_heads, -1))
        q, k, v = (ops.reshape(part, shape=(B, T, D)) for part in ops.split(heads, sections=3))
        return q, k, v
