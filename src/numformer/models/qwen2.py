"""Qwen2: Llama with biases of queries, keys and values, by Yang et al. 2024 (arXiv:2407.10671)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numformer._names import takes_synonyms
from numformer.models.decoder import Decoder
from numformer.models.layer_types import FULL, SLIDING, LayerTypesConfig
from numformer.models.llama import LAYOUT, LlamaLayer
from numformer.models.registry import register


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class Qwen2Config(LayerTypesConfig):
    """A Llama with biases in its attention, of which some layers may see a window; none does unless `layer_types` says so."""

    model_type: ClassVar[str] = "qwen2"
    fixed_on_disk: ClassVar[dict[str, Any]] = {}

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json, where the last layers have the window in older versions."""
        keys = super().to_disk()
        num_full = keys["layer_types"].count(FULL)
        return keys | {"use_sliding_window": num_full < self.num_layers, "max_window_layers": num_full}

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        settings = super()._settings_of(keys)
        if not keys.get("use_sliding_window", False):
            return settings | {"sliding_window": None}
        first, number = keys.get("max_window_layers"), settings["num_layers"]
        if settings["layer_types"] is None and isinstance(first, int) and isinstance(number, int):
            settings["layer_types"] = [FULL if layer < first else SLIDING for layer in range(number)]
        return settings


@register(Qwen2Config, LAYOUT, task="lm", class_on_disk="Qwen2ForCausalLM", class_prefix="Qwen2")
class Qwen2(Decoder):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a Qwen2Config or its fields as keywords.
    """

    config_class = Qwen2Config
    config: Qwen2Config

    def make_layer(self, number: int) -> LlamaLayer:
        """Return a layer with biases, and with the window where it has one."""
        return LlamaLayer(self.config, bias=True, out_bias=False, window=self.config.window(number))
