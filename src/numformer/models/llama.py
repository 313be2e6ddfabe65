"""Llama: the decoder-only Transformer of Touvron et al. 2023 (arXiv:2302.13971), with what its successors added.

Those are grouped heads and, in Llama 3, rotary positions stretched over a longer context; SmolLM is a Llama too. Mistral,
Qwen and Gemma have files of their own beside this one, which say in what they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from numformer._names import takes_synonyms
from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig, ArchitectureSettings, is_number
from numformer.models.decoder import Decoder
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.models.rope import RopeScaling, rope_settings, rope_to_disk, scaled_frequencies
from numformer.nn.attention import MultiHeadAttention, check_heads
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import RMSNorm
from numformer.nn.transformer import Layer, Residual


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ArchitectureConfig):
    """A decoder-only Transformer with rotary positions, RMSNorm and gated feed-forward layers."""

    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    num_layers: int = 3
    """Number of layers."""
    num_kv_heads: int | None = None
    """Heads of keys and values, which the attention heads share in groups; as many as attention heads when not given."""
    head_dim: int | None = None
    """Width of a head; the heads' equal share of d_model when not given."""
    activation: str = "silu"
    """One of gelu_tanh, gelu, relu, silu."""
    rope_theta: float = 10000.0
    """Base of the wavelengths of the rotary positions."""
    rope_scaling: RopeScaling | None = None
    """How they are stretched over a context longer than the one trained on first."""
    rms_norm_eps: float = 1e-6
    """Added to the mean square in every RMSNorm."""
    tie_embeddings: bool = False
    """The output layer shares its weight with the token embedding."""

    model_type: ClassVar[str] = "llama"
    lengths: ClassVar[tuple[str, ...]] = (*ArchitectureConfig.lengths, "num_kv_heads", "head_dim")
    optional_lengths: ClassVar[tuple[str, ...]] = ("d_ff", "num_kv_heads", "head_dim")
    positive: ClassVar[tuple[str, ...]] = ("rms_norm_eps", "rope_theta")
    switches: ClassVar[tuple[str, ...]] = ("tie_embeddings",)
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
        "head_dim": "head_dim",
        "num_layers": "num_hidden_layers",
        "d_ff": "intermediate_size",
        "max_seq_len": "max_position_embeddings",
        "dropout": "attention_dropout",
        "activation": "hidden_act",
        "rope_theta": "rope_theta",
        "rms_norm_eps": "rms_norm_eps",
        "tie_embeddings": "tie_word_embeddings",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"),
        *("intermediate_size", "max_position_embeddings"),
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"attention_bias": False, "mlp_bias": False}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, RopeScaling):
            raise InputError(f"rope_scaling must be a RopeScaling, got {self.rope_scaling!r}")

    def _check_heads(self) -> None:
        width = check_heads(self.d_model, self.num_heads, self.num_kv_heads or self.num_heads, self.head_dim)
        if width % 2:
            raise InputError(f"rotary positions need heads of an even width, got {width}")

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.head_dim or self.d_model // self.num_heads

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json, rotary positions as newer and as older versions read them."""
        rope = rope_to_disk(self.rope_theta, self.rope_scaling)
        return super().to_disk() | {
            "num_key_value_heads": self.num_kv_heads or self.num_heads,
            "head_dim": self.head_width,
            "intermediate_size": self.ff_width,
            "rope_parameters": rope,
            "rope_scaling": None if self.rope_scaling is None else rope,
        }

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        settings = super()._settings_of(keys) | rope_settings(keys)
        heads, width, head_width = (settings.get(name, 0) for name in ("num_heads", "d_model", "head_dim"))
        if settings.get("num_kv_heads") == heads:
            settings["num_kv_heads"] = None
        if is_number(heads, int) and is_number(head_width, int) and heads * head_width == width:
            settings["head_dim"] = None
        return settings


class LlamaSettings(ArchitectureSettings, total=False):
    """The types of the keywords that Llama takes: the fields of LlamaConfig."""

    vocab_size: int
    num_layers: int
    num_kv_heads: int | None
    head_dim: int | None
    rope_theta: float
    rope_scaling: RopeScaling | None
    rms_norm_eps: float
    tie_embeddings: bool


LAYOUT = Layout(
    prefix="model.",
    prefixes={"qa": "transformer."},
    backbone="""
        token_embedding                embed_tokens
        layers.*.residual1.norm        layers.*.input_layernorm
        layers.*.self_attn.q_proj      layers.*.self_attn.q_proj
        layers.*.self_attn.k_proj      layers.*.self_attn.k_proj
        layers.*.self_attn.v_proj      layers.*.self_attn.v_proj
        layers.*.self_attn.out_proj    layers.*.self_attn.o_proj
        layers.*.residual2.norm        layers.*.post_attention_layernorm
        layers.*.feed_forward.linear1  layers.*.mlp.gate_proj
        layers.*.feed_forward.linear2  layers.*.mlp.down_proj
        layers.*.feed_forward.linear3  layers.*.mlp.up_proj
        norm                           norm
    """,
    heads={"lm": "output lm_head", "classify": "head score", "tag": "head score", "qa": "head qa_outputs"},
    ignored=("layers.*.self_attn.rotary_emb", "rotary_emb", "lm_head"),  # the last where it is tied
)


@register(LlamaConfig, LAYOUT, task="lm", class_on_disk="LlamaForCausalLM", class_prefix="Llama")
class Llama(Decoder):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a LlamaConfig or its fields as keywords: `Llama(vocab_size=512, d_model=64, num_heads=8, num_kv_heads=4)`.
    Raises InputError for a setting that is unknown or out of range.
    """

    config_class = LlamaConfig

    def __init__(self, config: LlamaConfig | None = None, *, seed: int = 0, **settings: Unpack[LlamaSettings]) -> None:
        super().__init__(config, seed=seed, **settings)

    def make_layer(self, number: int) -> Layer:
        """Return a layer; all are alike."""
        return LlamaLayer(self.config)


class LlamaLayer(Layer):
    """Pre-norm attention with rotary positions and gated feed-forward, x [B T D] -> [B T D].

    `attention` are settings of MultiHeadAttention that a successor of Llama has besides, or in place of Llama's.
    """

    def __init__(self, config: LlamaConfig, **attention: Any) -> None:
        D, eps = config.d_model, config.rms_norm_eps
        self.residual1 = Residual(RMSNorm(D, eps), config.dropout)
        self.self_attn = make_attention(config, **attention)
        self.residual2 = Residual(RMSNorm(D, eps), config.dropout)
        self.feed_forward = make_feed_forward(config)


def make_attention(config: LlamaConfig, **settings: Any) -> MultiHeadAttention:
    """Return Llama's attention, with these settings of MultiHeadAttention besides or in place of its own."""
    own = {
        "num_kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "bias": False,
        "rope_frequencies": scaled_frequencies(config.head_width, config.rope_theta, config.rope_scaling),
    }
    return MultiHeadAttention(config.d_model, config.num_heads, config.dropout, **own | settings)


def make_feed_forward(config: LlamaConfig) -> FeedForward:
    """Return Llama's gated feed-forward part, with no dropout inside."""
    return FeedForward(
        config.d_model, config.ff_width, dropout=None, activation=config.activation, gated=True, bias=False
    )
