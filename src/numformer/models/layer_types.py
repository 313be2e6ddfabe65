"""Configs of models whose layers are of two types: those that see every position before, and those that see a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numformer.errors import InputError
from numformer.models.config import LAYER_BITS, is_number
from numformer.models.llama import LlamaConfig

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True, kw_only=True)
class LayerTypesConfig(LlamaConfig):
    """A Llama's config with a window and the types of its layers; a subclass says which layers have it by default."""

    sliding_window: int | None = None
    """How many of the last positions a layer of sliding attention sees, its own among them."""
    layer_types: tuple[str, ...] | None = None
    """full_attention or sliding_attention for every layer; the architecture's own pattern when not given."""

    lengths: ClassVar[tuple[str, ...]] = (*LlamaConfig.lengths, "sliding_window")
    optional_lengths: ClassVar[tuple[str, ...]] = (*LlamaConfig.optional_lengths, "sliding_window")
    names_on_disk: ClassVar[dict[str, str]] = LlamaConfig.names_on_disk | {"sliding_window": "sliding_window"}
    needed_on_disk: ClassVar[tuple[str, ...]] = (*LlamaConfig.needed_on_disk, "num_key_value_heads")

    def __post_init__(self) -> None:
        super().__post_init__()
        types, number = self.layer_types, self.num_layers
        if types is not None:
            if not isinstance(types, Sequence) or any(each not in (FULL, SLIDING) for each in types):
                raise InputError(f"layer_types must be a list of {FULL} and {SLIDING}, got {types!r}")
            if len(types) != number:
                raise InputError(f"layer_types must name num_layers={number} layers, got {len(types)}")
            is_pattern = list(types) == [self._type_by_default(i) for i in range(number)]
            object.__setattr__(self, "layer_types", None if is_pattern else tuple(types))
        if self.sliding_window is None and any(map(self.is_sliding, range(number))):
            raise InputError(f"layers of {SLIDING} need a sliding_window")

    def _type_by_default(self, layer: int) -> str:
        return FULL

    def is_sliding(self, layer: int) -> bool:
        """Tell whether a layer, numbered from 0, sees a window alone."""
        kind = self._type_by_default(layer) if self.layer_types is None else self.layer_types[layer]
        return kind == SLIDING

    def window(self, layer: int) -> int | None:
        """Return how many positions a layer sees, None for all."""
        return self.sliding_window if self.is_sliding(layer) else None

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        types = [SLIDING if self.is_sliding(layer) else FULL for layer in range(self.num_layers)]
        return super().to_disk() | {"layer_types": types}

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        return super()._settings_of(keys) | {"layer_types": keys.get("layer_types")}


def types_of(num_layers: Any, is_sliding: Callable[[int], bool]) -> list[str] | None:
    """Return the types of so many layers of a file, or none for a number that the config is to refuse."""
    if not is_number(num_layers, int) or num_layers >= 1 << LAYER_BITS:
        return None
    return [SLIDING if is_sliding(layer) else FULL for layer in range(num_layers)]
