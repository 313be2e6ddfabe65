"""Qwen3: Llama with normalised queries and keys, by Yang et al. 2025 (arXiv:2505.09388)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from numformer._names import takes_synonyms
from numformer.models import llama
from numformer.models.decoder import Decoder
from numformer.models.llama import LlamaLayer
from numformer.models.qwen2 import Qwen2Config
from numformer.models.registry import register
from numformer.nn.layers import RMSNorm


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class Qwen3Config(Qwen2Config):
    """A Llama with normalised queries and keys; its windows are those of Qwen2."""

    model_type: ClassVar[str] = "qwen3"
    needed_on_disk: ClassVar[tuple[str, ...]] = (*Qwen2Config.needed_on_disk, "head_dim")
    fixed_on_disk: ClassVar[dict[str, Any]] = {"attention_bias": False}


QK_NORM = """
        layers.*.self_attn.q_norm      layers.*.self_attn.q_norm
        layers.*.self_attn.k_norm      layers.*.self_attn.k_norm
"""
LAYOUT = replace(llama.LAYOUT, backbone=llama.LAYOUT.backbone + QK_NORM)


@register(Qwen3Config, LAYOUT, task="lm", class_on_disk="Qwen3ForCausalLM", class_prefix="Qwen3")
class Qwen3(Decoder):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a Qwen3Config or its fields as keywords.
    """

    config_class = Qwen3Config
    config: Qwen3Config

    def make_layer(self, number: int) -> LlamaLayer:
        """Return a layer whose heads of queries and keys are normalised, each by itself."""
        width, eps = self.config.head_width, self.config.rms_norm_eps
        norms = {"q_norm": RMSNorm(width, eps), "k_norm": RMSNorm(width, eps)}
        return LlamaLayer(self.config, **norms, window=self.config.window(number))
