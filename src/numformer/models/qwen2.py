"""Qwen2: Llama with biases of queries, keys and values, by Yang et al. 2024 (arXiv:2407.10671)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numformer._names import takes_synonyms
from numformer.errors import InputError
from numformer.models.config import is_number
from numformer.models.decoder import Decoder
from numformer.models.layer_types import FULL, SLIDING, LayerTypesConfig, types_of
from numformer.models.llama import LAYOUT, LlamaLayer
from numformer.models.registry import register


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class Qwen2Config(LayerTypesConfig):
    """A Llama with biases in its attention, of which some layers may see a window; none does unless `layer_types` says so."""

    model_type: ClassVar[str] = "qwen2"
    fixed_on_disk: ClassVar[dict[str, Any]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sliding_window is not None and not any(map(self.is_sliding, range(self.num_layers))):
            raise InputError(
                f"sliding_window={self.sliding_window}, but no layer has it: layer_types says which are {SLIDING}"
            )

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json, where the last layers have the window in older versions."""
        keys = super().to_disk()
        num_full = keys["layer_types"].count(FULL)
        return keys | {"use_sliding_window": num_full < self.num_layers, "max_window_layers": num_full}

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        settings, first = super()._settings_of(keys), keys.get("max_window_layers")
        types, has_windows = settings["layer_types"], bool(keys.get("use_sliding_window"))
        if types is None and has_windows:
            if not is_number(first, int):
                raise InputError(f"config.json: use_sliding_window=True needs max_window_layers, got {first!r}")
            types = types_of(settings["num_layers"], lambda layer: layer >= int(first or 0))
        if not has_windows or types is None or (isinstance(types, list) and SLIDING not in types):
            settings["sliding_window"] = None  # which a file may name all the same
        settings["layer_types"] = types
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
