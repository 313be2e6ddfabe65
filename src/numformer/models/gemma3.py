"""Gemma 3, the text model: five layers with a window to one without, each kind with rotary positions of its own.

Gemma Team 2025 (arXiv:2503.19786). Normalised queries and keys take the place of Gemma 2's soft caps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from numformer import ops
from numformer._names import takes_synonyms
from numformer.errors import InputError
from numformer.models import gemma
from numformer.models.config import is_number
from numformer.models.gemma import Gemma, GemmaConfig, GemmaLayer, OffsetRMSNorm
from numformer.models.layer_types import FULL, SLIDING, types_of
from numformer.models.qwen3 import QK_NORM
from numformer.models.registry import register
from numformer.models.rope import rope_from_disk, rope_to_disk

PATTERN = 6  # every so many layers, one sees everything


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class Gemma3Config(GemmaConfig):
    """A decoder-only Transformer with the layout of Gemma 3's text model."""

    rope_theta: float = 1_000_000.0
    """Base of the wavelengths of the rotary positions in layers that see everything."""
    local_rope_theta: float = 10_000.0
    """Base of the wavelengths in layers with a window."""

    model_type: ClassVar[str] = "gemma3_text"
    positive: ClassVar[tuple[str, ...]] = (*GemmaConfig.positive, "local_rope_theta")
    names_on_disk: ClassVar[dict[str, str]] = GemmaConfig.names_on_disk | {"local_rope_theta": "rope_local_base_freq"}
    fixed_on_disk: ClassVar[dict[str, Any]] = GemmaConfig.fixed_on_disk | {
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    }

    def _type_by_default(self, layer: int) -> str:
        return SLIDING if (layer + 1) % PATTERN else FULL

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        rope = {
            FULL: rope_to_disk(self.rope_theta, self.rope_scaling),
            SLIDING: rope_to_disk(self.local_rope_theta, None),
        }
        return super().to_disk() | {"rope_parameters": rope}

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        ropes = keys.get("rope_parameters") or {}
        if not isinstance(ropes, dict) or not ropes.keys() <= {FULL, SLIDING}:
            raise InputError(f"config.json: rope_parameters must have tables for {FULL} and {SLIDING}, got {ropes!r}")
        settings = super()._settings_of(keys | {"rope_parameters": ropes.get(FULL)})
        local = rope_from_disk(ropes.get(SLIDING) or {}, f"rope_parameters of {SLIDING}")
        if local["rope_scaling"] is not None:
            raise InputError(f"config.json: rope_parameters of {SLIDING} stretch them, which is not supported")
        if "rope_theta" in local:
            settings["local_rope_theta"] = local["rope_theta"]
        every = PATTERN if keys.get("sliding_window_pattern") is None else keys["sliding_window_pattern"]
        if not is_number(every, int) or every < 1:
            raise InputError(f"config.json: sliding_window_pattern must be a number of layers, got {every!r}")
        if settings["layer_types"] is None and every != PATTERN:
            settings["layer_types"] = types_of(settings["num_layers"], lambda layer: (layer + 1) % every > 0)
        return settings


LAYOUT = replace(gemma.LAYOUT, backbone=gemma.LAYOUT.backbone + QK_NORM)


@register(Gemma3Config, LAYOUT, task="lm", class_on_disk="Gemma3ForCausalLM", class_prefix="Gemma3Text")
class Gemma3(Gemma):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a Gemma3Config or its fields as keywords.
    """

    config_class = Gemma3Config

    def make_layer(self, number: int) -> GemmaLayer:
        """Return a layer with normalised queries and keys; one with a window has rotary positions of its own."""
        config, window = self.config, self.config.window(number)
        width, eps = config.head_width, config.rms_norm_eps
        settings: dict[str, Any] = {"q_norm": OffsetRMSNorm(width, eps), "k_norm": OffsetRMSNorm(width, eps)}
        if window is not None:
            settings["rope_frequencies"] = ops.rope_frequencies(width, config.local_rope_theta)
        return GemmaLayer(config, window=window, **settings)
