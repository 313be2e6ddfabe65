"""Mistral: Llama with attention to the last positions alone, by Jiang et al. 2023 (arXiv:2310.06825)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from numformer._names import takes_synonyms
from numformer.errors import InputError
from numformer.models import llama
from numformer.models.decoder import Decoder
from numformer.models.llama import LlamaConfig, LlamaLayer
from numformer.models.registry import register


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class MistralConfig(LlamaConfig):
    """A Llama whose layers see a window of positions."""

    sliding_window: int | None = None
    """How many of the last positions every layer sees, its own among them; all where it is not given."""

    model_type: ClassVar[str] = "mistral"
    lengths: ClassVar[tuple[str, ...]] = (*LlamaConfig.lengths, "sliding_window")
    optional_lengths: ClassVar[tuple[str, ...]] = (*LlamaConfig.optional_lengths, "sliding_window")
    names_on_disk: ClassVar[dict[str, str]] = LlamaConfig.names_on_disk | {"sliding_window": "sliding_window"}
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *LlamaConfig.needed_on_disk,
        *("num_key_value_heads", "sliding_window"),  # which Transformers would give a value of its own
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"attention_bias": False}

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        if keys.get("layer_types"):
            raise InputError(
                "config.json: layer_types are not supported in a mistral, all of whose layers have its window"
            )
        return super()._settings_of(keys)


LAYOUT = replace(llama.LAYOUT, prefixes={})


@register(MistralConfig, LAYOUT, task="lm", class_on_disk="MistralForCausalLM", class_prefix="Mistral")
class Mistral(Decoder):
    """Predict the next token at every position from those in the window before it, tokens [B T] -> logits [B T V].

    Takes a MistralConfig or its fields as keywords.
    """

    config_class = MistralConfig
    config: MistralConfig

    def make_layer(self, number: int) -> LlamaLayer:
        """Return a layer, each of which has the window."""
        return LlamaLayer(self.config, window=self.config.sliding_window)
