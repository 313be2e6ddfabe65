"""Gemma 2: a window in every second layer, and soft caps, by the Gemma Team 2024 (arXiv:2408.00118)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numformer import ops
from numformer._names import takes_synonyms
from numformer.autograd import Tensor
from numformer.models.gemma import LAYOUT, Gemma, GemmaConfig, GemmaLayer
from numformer.models.layer_types import FULL, SLIDING
from numformer.models.registry import register

CAPS = ("attn_logit_softcapping", "final_logit_softcapping")


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class Gemma2Config(GemmaConfig):
    """A decoder-only Transformer with the layout of Gemma 2; the first layer has a window, the second sees everything."""

    attn_logit_softcapping: float | None = 50.0
    """Bound of the scores of attention, towards which they bend; none where it is None."""
    final_logit_softcapping: float | None = 30.0
    """Bound of the logits, towards which they bend; none where it is None."""

    model_type: ClassVar[str] = "gemma2"
    positive: ClassVar[tuple[str, ...]] = (*GemmaConfig.positive, *CAPS)
    optional_numbers: ClassVar[tuple[str, ...]] = (*GemmaConfig.optional_numbers, *CAPS)
    names_on_disk: ClassVar[dict[str, str]] = GemmaConfig.names_on_disk | {name: name for name in CAPS}

    def _type_by_default(self, layer: int) -> str:
        return FULL if layer % 2 else SLIDING


@register(Gemma2Config, LAYOUT, task="lm", class_on_disk="Gemma2ForCausalLM", class_prefix="Gemma2")
class Gemma2(Gemma):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a Gemma2Config or its fields as keywords.
    """

    config_class = Gemma2Config

    def make_layer(self, number: int) -> GemmaLayer:
        """Return a layer with soft caps, and with the window where it has one."""
        cap, window = self.config.attn_logit_softcapping, self.config.window(number)
        return GemmaLayer(self.config, soft_cap=cap, window=window)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the next token, bounded, x [B T D] -> [B T V]."""
        logits, cap = super().logits(x), self.config.final_logit_softcapping
        return logits if cap is None else ops.soft_cap(logits, cap=cap)
