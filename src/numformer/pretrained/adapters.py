"""Adapters (LoRA) of a model that stays as it is, and the head that is trained beside them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numformer.errors import InputError
from numformer.nn.lora import add_lora, lora_layers, merge_lora
from numformer.pretrained.adapter_targets import chosen, whole_parts
from numformer.pretrained.fitting import few_names


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Adapters of low rank beside frozen linear layers (Hu et al. 2021)."""

    rank: int = 0
    """Rank of the adapters that are trained in place of the model's weights; 0 trains the weights themselves."""
    alpha: float = 16.0
    """Their product is multiplied by alpha/rank."""
    dropout: float = 0.0
    """Share of the inputs of an adapter that is dropped in training."""
    targets: tuple[str, ...] = ()
    """Ends of the names of the linear layers that get one, here or on disk (q_proj, c_attn), or patterns with *; those of
    attention when not given."""

    def __post_init__(self) -> None:
        if type(self.rank) is not int or self.rank < 0:
            raise InputError(f"the rank of adapters must be a whole number of at least 0, got {self.rank!r}")
        if not math.isfinite(self.alpha) or self.alpha <= 0:
            raise InputError(f"alpha must be a number above 0, got {self.alpha!r}")
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"the dropout of adapters must be at least 0 and below 1, got {self.dropout!r}")


NO_ADAPTERS = LoRAConfig()


@dataclass(frozen=True)
class Adapter:
    """What a model with adapters knows of them: their settings; of its own weights the name, the place, the checksum."""

    config: LoRAConfig
    base: str
    path: Path
    base_crc32: int


def adapter_of(model: Any) -> Adapter | None:
    """Return what a model knows of its adapters; None where it has none."""
    found: Adapter | None = getattr(model, "adapter", None)
    return found


def adapt(model: Any, config: LoRAConfig, base: str | Path, seed: int = 0, name: str | None = None) -> None:
    """Put new adapters into a model whose weights lie in `base`, in place; they are trained then, and a head if it has one.

    `name` is what the adapters call the base, its whole path when not given. Raises InputError when no linear layer has a
    name that was asked for.
    """
    path = Path(base).resolve()
    adapter = Adapter(config, name or str(path), path, weights_checksum(base))
    put_adapters(model, chosen(model, config.targets), adapter, seed)


def put_adapters(model: Any, names: Iterable[str], adapter: Adapter, seed: int = 0) -> None:
    """Put adapters beside the linear layers of these names; they and the parts that are trained whole are not frozen."""
    config = adapter.config
    add_lora(model, names, config.rank, config.alpha / config.rank, config.dropout, seed)
    for part in whole_parts(model):
        model.unfreeze(part)
    model.adapter = adapter


def merge(model: Any) -> None:
    """Put the adapters of a model into its weights, in place; raises InputError where there are none."""
    if adapter_of(model) is None:
        raise InputError(f"this {type(model).__name__} has no adapters to merge")
    merge_lora(model)
    model.adapter = None


def kept_state(model: Any) -> dict[str, np.ndarray]:
    """Return what of a model changes in its training, by name: all its state, or with adapters these and a head."""
    state = {name: tensor.data for name, tensor in model.named_state()}
    return state if adapter_of(model) is None else {name: state[name] for name in _kept(model)}


def take_state(model: Any, state: Mapping[str, np.ndarray]) -> None:
    """Give a model what `kept_state` returned; raises InputError, and changes nothing, when it is another model's."""
    if adapter_of(model) is not None and (misfits := sorted(set(_kept(model)) ^ set(state))):
        raise InputError(f"the adapters do not fit {type(model).__name__}: {few_names(misfits, 3)}")
    model.load_state_dict(state, strict=adapter_of(model) is None)


def weights_checksum(base: str | Path) -> int:
    """Return the checksum of the files that hold the weights of a folder, or of a GGUF file."""
    path = Path(base)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    crc = 0
    for file in files:
        with file.open("rb") as data:
            while piece := data.read(1 << 20):
                crc = zlib.crc32(piece, crc)
    return crc


def whole_state(model: Any) -> dict[str, np.ndarray]:
    """Return the parameters of the parts that are trained whole, by name."""
    starts = tuple(f"{part}." for part in whole_parts(model))
    return {name: parameter.data for name, parameter in model.named_parameters() if name.startswith(starts)}


def _kept(model: Any) -> list[str]:
    thin = [f"{name}.{part}" for name, _ in lora_layers(model) for part in ("lora_A", "lora_B")]
    return [*thin, *whole_state(model)]
