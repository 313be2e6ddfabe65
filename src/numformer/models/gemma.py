"""What the models of the Gemma family have in common: scaled embeddings, norms on both sides of every part, windows by turns.

Gemma Team 2024 (arXiv:2408.00118), §2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from numformer import ops
from numformer.autograd import Array, Tensor
from numformer.models import llama
from numformer.models.decoder import Decoder
from numformer.models.layer_types import LayerTypesConfig
from numformer.models.llama import LlamaConfig, make_attention, make_feed_forward
from numformer.nn import init
from numformer.nn.layers import RMSNorm
from numformer.nn.module import Module
from numformer.nn.transformer import Layer, Residual


@dataclass(frozen=True, kw_only=True)
class GemmaConfig(LayerTypesConfig):
    """The fields of every Gemma."""

    activation: str = "gelu_tanh"
    """One of gelu_tanh, gelu, relu, silu."""
    tie_embeddings: bool = True
    """The output layer shares its weight with the token embedding."""
    sliding_window: int | None = 4096
    """How many of the last positions a layer of sliding attention sees, its own among them."""
    query_pre_attn_scalar: float | None = None
    """Scores of attention are divided by its root; the width of a head when not given."""

    positive: ClassVar[tuple[str, ...]] = (*LlamaConfig.positive, "query_pre_attn_scalar")
    optional_numbers: ClassVar[tuple[str, ...]] = ("query_pre_attn_scalar",)
    activations_on_disk: ClassVar[dict[str, str]] = LlamaConfig.activations_on_disk | {"gelu_tanh": "gelu_pytorch_tanh"}
    names_on_disk: ClassVar[dict[str, str]] = LayerTypesConfig.names_on_disk | {
        "activation": "hidden_activation",
        "query_pre_attn_scalar": "query_pre_attn_scalar",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *LayerTypesConfig.needed_on_disk,
        *("head_dim", "sliding_window", "query_pre_attn_scalar"),
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"attention_bias": False, "use_bidirectional_attention": False}

    @property
    def attention_scale(self) -> float:
        """What scores of attention are multiplied by."""
        return (self.query_pre_attn_scalar or self.head_width) ** -0.5

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return super().to_disk() | {"query_pre_attn_scalar": self.query_pre_attn_scalar or self.head_width}

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        settings = super()._settings_of(keys)
        if settings["query_pre_attn_scalar"] == keys["head_dim"]:
            settings["query_pre_attn_scalar"] = None
        return settings


LAYOUT = replace(
    llama.LAYOUT,
    prefixes={},
    backbone=llama.LAYOUT.backbone.replace(
        "layers.*.residual2.norm        layers.*.post_attention_layernorm",
        """layers.*.residual1.post_norm   layers.*.post_attention_layernorm
        layers.*.residual2.norm        layers.*.pre_feedforward_layernorm
        layers.*.residual2.post_norm   layers.*.post_feedforward_layernorm""",
    ),
)


class Gemma(Decoder):
    """A decoder whose embeddings are scaled and whose norms are those of Gemma."""

    scales_embeddings = True

    def make_norm(self) -> Module:
        """Return the normalisation after the last layer."""
        return OffsetRMSNorm(self.config.d_model, self.config.rms_norm_eps)


class GemmaLayer(Layer):
    """Attention and gated feed-forward, each with a norm before and a norm after it, x [B T D] -> [B T D].

    `attention` are settings of MultiHeadAttention besides those that Llama has.
    """

    def __init__(self, config: GemmaConfig, **attention: Any) -> None:
        self.residual1 = _residual(config)
        self.self_attn = make_attention(config, scale=config.attention_scale, **attention)
        self.residual2 = _residual(config)
        self.feed_forward = make_feed_forward(config)


class DoubleNormResidual(Residual):
    """x + norm(part(norm(x))), with a norm of its own on either side of the part."""

    def __init__(self, norm: Module, post_norm: Module, dropout: float = 0.0) -> None:
        super().__init__(norm, dropout)
        self.post_norm = post_norm

    def forward(self, x: Array, part: Callable[[Array], Array], onto: Array | None = None) -> Tensor:
        """Return x [B T D] with what `part` has to add to it, normalised; `onto` as in Residual."""
        return super().forward(x, lambda y: self.post_norm(part(y)), onto)


class OffsetRMSNorm(RMSNorm):
    """RMSNorm whose scale is 1 + weight, so that a weight that decays to 0 leaves a plain norm, x [... D] -> [... D]."""

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__(d_model, eps)
        self.weight = init.zeros(d_model)

    def forward(self, x: Array) -> Tensor:
        """Normalise every vector along the last axis, x [... D] -> [... D]."""
        return ops.rms_norm(x, self.weight + 1.0, eps=self.eps)

    if TYPE_CHECKING:
        __call__ = forward


def _residual(config: GemmaConfig) -> DoubleNormResidual:
    D, eps = config.d_model, config.rms_norm_eps
    return DoubleNormResidual(OffsetRMSNorm(D, eps), OffsetRMSNorm(D, eps), config.dropout)
