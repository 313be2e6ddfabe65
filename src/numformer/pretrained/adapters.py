"""Adapters (LoRA) of a model that stays as it is, in PEFT's folder layout: adapter_config.json, adapter_model.safetensors."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from numformer._files import read_json, write_atomically
from numformer.errors import InputError
from numformer.models.disk import names_of
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.lora import add_lora, linear_layers, lora_layers, merge_lora
from numformer.nn.module import Module
from numformer.pretrained.array_files import read_safetensors, write_safetensors
from numformer.pretrained.floats import check_float

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."  # before every name, as PEFT wraps a model twice
BASE_CRC = "base_crc32"  # what the metadata of an adapter call the checksum of the weights that it was trained on
UNREAD = ("rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform", "use_dora", "layer_replication")


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


@dataclass(frozen=True)
class Adapter:
    """What a model with adapters knows of them: their settings, and where its own weights lie, with their checksum."""

    config: LoRAConfig
    base: str
    base_crc32: int


def adapter_of(model: Any) -> Adapter | None:
    """Return what a model knows of its adapters; None where it has none."""
    found: Adapter | None = getattr(model, "adapter", None)
    return found


def adapt(model: Any, config: LoRAConfig, base: str | Path, seed: int = 0) -> None:
    """Put new adapters into a model whose weights lie in `base`, in place; they alone are trained then.

    Raises InputError when no linear layer has a name that was asked for.
    """
    names = _chosen(model, config.targets)
    add_lora(model, names, config.rank, config.alpha / config.rank, config.dropout, seed)
    model.adapter = Adapter(config, str(Path(base).resolve()), weights_checksum(base))


def merge(model: Any) -> None:
    """Put the adapters of a model into its weights, in place; raises InputError where there are none."""
    if adapter_of(model) is None:
        raise InputError(f"this {type(model).__name__} has no adapters to merge")
    merge_lora(model)
    model.adapter = None


def kept_state(model: Any) -> dict[str, np.ndarray]:
    """Return what of a model changes in its training, by name: all its state, or with adapters these alone."""
    state = {name: tensor.data for name, tensor in model.named_state()}
    return state if adapter_of(model) is None else {name: state[name] for name in _adapters(model)}


def take_state(model: Any, state: Mapping[str, np.ndarray]) -> None:
    """Give a model what `kept_state` returned; raises InputError, and changes nothing, when it is another model's."""
    if adapter_of(model) is not None:
        own = set(_adapters(model))
        if misfits := sorted(own ^ set(state)):
            raise InputError(f"the adapters do not fit {type(model).__name__}: {_few(misfits)}")
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


def save_adapter(
    model: Any, folder: str | Path, notes: Mapping[str, str] | None = None, dtype: str = "float32"
) -> None:
    """Write the adapters of a model as PEFT does, weights first, each file in one step.

    `notes` are kept in the metadata, beside the checksum of the weights that they belong to. Raises InputError for a `dtype`
    that is none of float32, float16 and bfloat16, and a weight that is too large for it.
    """
    check_float(dtype)
    adapter = adapter_of(model)
    assert adapter is not None
    there = _disk_names(model)
    weights = {
        f"{PREFIX}{there[name]}.{part}.weight": getattr(layer, part).data
        for name, layer in lora_layers(model)
        for part in ("lora_A", "lora_B")
    }
    metadata = {"format": "pt", BASE_CRC: str(adapter.base_crc32), **(notes or {})}
    write_safetensors(Path(folder) / WEIGHTS, weights, metadata, dtype)
    save_adapter_config(model, folder)


def save_adapter_config(model: Any, folder: str | Path) -> None:
    """Write adapter_config.json in one step."""
    adapter, names = adapter_of(model), names_of(model)
    assert adapter is not None
    adapted = [name for name, _ in lora_layers(model)]
    keys = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base,
        "r": adapter.config.rank,
        "lora_alpha": adapter.config.alpha,
        "lora_dropout": adapter.config.dropout,
        "target_modules": _shortest(_disk_names(model), adapted),
        "fan_in_fan_out": any(names.is_transposed(f"{name}.weight") for name in adapted),
        "bias": "none",
        "inference_mode": True,
    }
    write_atomically(Path(folder) / CONFIG, json.dumps(keys, indent=2) + "\n")


def read_adapter(folder: str | Path, open_base: Callable[[Path], Any], base: str | Path | None = None) -> Any:
    """Return the model that `open_base` opens, with the adapters in a folder, in evaluation mode.

    Without `base` it is the one that the adapters name. Raises InputError when it is not there, has other weights than those
    that the adapters were trained on, or is another model, and for adapters of a kind that is not read.
    """
    folder = Path(folder)
    keys = read_json(folder / CONFIG)
    weights, metadata = read_safetensors(folder / WEIGHTS)
    try:
        path = _base_of(keys, base)
        config, scale = _settings(keys)
        crc = weights_checksum(path)
        if base is None and metadata.get(BASE_CRC, str(crc)) != str(crc):
            raise InputError(f"its base {path} has other weights now than those that it was trained on")
        model = open_base(path)
        _take(model, weights, Adapter(config, str(path.resolve()), crc), scale)
    except InputError as error:
        raise InputError(f"the adapter {folder}: {error}") from None
    return model.eval()


def take_adapter(model: Any, folder: str | Path) -> None:
    """Give a model with adapters those in a folder; raises InputError when they are missing, damaged or another model's."""
    weights, _ = read_safetensors(Path(folder) / WEIGHTS)
    parts = _sorted_out(model, weights)
    take_state(model, {f"{name}.{part}": value for (name, part), value in parts.items()})


def _take(model: Any, weights: Mapping[str, np.ndarray], adapter: Adapter, scale: float) -> None:
    """Put adapters that are read into a model; raises InputError, and changes nothing, where they do not fit it."""
    config, parts, layers = adapter.config, _sorted_out(model, weights), linear_layers(model)
    names = [name for name in layers if any((name, part) in parts for part in ("lora_A", "lora_B"))]
    wanted = {
        (name, part): shape
        for name in names
        for part, shape in (
            ("lora_A", (config.rank, layers[name].weight.shape[1])),
            ("lora_B", (layers[name].weight.shape[0], config.rank)),
        )
    }
    there = _disk_names(model)
    if wrong := [
        f"{there[name]}.{part} (got {list(parts[name, part].shape) if (name, part) in parts else 'nothing'}, "
        f"expected {list(shape)})"
        for (name, part), shape in wanted.items()
        if (name, part) not in parts or parts[name, part].shape != shape
    ]:
        raise InputError(f"it does not fit {type(model).__name__}: {_few(wrong)}")
    if missing := [name for name in _listed_targets(model, config.targets) if name not in names]:
        raise InputError(f"it has no weights for {_few(missing)}, which it names")
    for (name, part), value in parts.items():
        if not np.isfinite(value).all():
            raise InputError(f"{there[name]}.{part} holds values that are no numbers")
    add_lora(model, names, config.rank, scale, config.dropout)
    model.adapter = adapter
    take_state(model, {f"{name}.{part}": value for (name, part), value in parts.items()})


def _sorted_out(model: Any, weights: Mapping[str, np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """Return the arrays of an adapter by the layer they belong to and the part that they are of it."""
    ours = {there: name for name, there in _disk_names(model).items()}
    parts, unknown = dict[tuple[str, str], np.ndarray](), []
    for name, value in weights.items():
        match = re.fullmatch(r"(.*)\.(lora_[AB])(?:\.default)?\.weight", name.removeprefix(PREFIX))
        if match and match[1] in ours:
            parts[ours[match[1]], match[2]] = value
        else:
            unknown.append(name)
    if unknown or not parts:
        lacks = f"it has no {_few(unknown)}" if unknown else "it holds no weights of LoRA"
        raise InputError(f"it does not fit {type(model).__name__}: {lacks}")
    return parts


def _settings(keys: Mapping[str, Any]) -> tuple[LoRAConfig, float]:
    """Return the settings in an adapter_config.json, and the factor of the adapters."""
    if keys.get("peft_type") != "LORA":
        raise InputError(f"its peft_type is {keys.get('peft_type')!r}; only LORA is read")
    if used := [name for name in UNREAD if keys.get(name)]:
        raise InputError(f"it has {', '.join(used)}, which is not read")
    if keys.get("bias", "none") != "none":
        raise InputError(f"it has biases (bias is {keys['bias']!r}), which are not read")
    rank, alpha, dropout = (
        keys.get(name, default) for name, default in (("r", 8), ("lora_alpha", 8), ("lora_dropout", 0.0))
    )
    targets = keys.get("target_modules") or []
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float) or type(dropout) not in (int, float):
        raise InputError(f"r, lora_alpha and lora_dropout must be numbers, got {rank!r}, {alpha!r} and {dropout!r}")
    listed = tuple(map(str, targets)) if isinstance(targets, list) else ()
    config = LoRAConfig(rank=rank, alpha=float(alpha), dropout=float(dropout), targets=listed)
    return config, config.alpha / (math.sqrt(rank) if keys.get("use_rslora") else rank)


def _base_of(keys: Mapping[str, Any], base: str | Path | None) -> Path:
    """Return where the model of adapters lies: in `base`, or where they say."""
    named = keys.get("base_model_name_or_path") if base is None else base
    if not isinstance(named, (str, Path)) or not str(named):
        raise InputError("it does not say which model it belongs to: give the folder of that one as base")
    path = Path(named)
    try:
        is_there = path.exists()
    except OSError:  # a name that no file can have
        is_there = False
    if not is_there:
        raise InputError(f"its base {str(named)[:200]} is not there: give the folder that the model is in now as base")
    if (path / CONFIG).is_file():
        raise InputError(f"its base {path} has adapters itself: merge them with `numformer merge` first")
    return path


def _chosen(model: Any, targets: Iterable[str]) -> list[str]:
    """Return the names of the linear layers that get adapters."""
    targets, layers = tuple(targets), linear_layers(model)
    if not targets:
        return [
            f"{path}.{child}"
            for path, module in model.named_modules()
            if isinstance(module, MultiHeadAttention)
            for child, layer in module.named_children()
            if f"{path}.{child}" in layers
        ]
    there = _disk_names(model)
    for target in targets:
        if not any(_fits(target, name, there[name]) for name in layers):
            ends = dict.fromkeys(name.rpartition(".")[2] for pair in there.items() for name in pair)
            raise InputError(
                f"no linear layer of {type(model).__name__} is called {target!r}; there are {', '.join(ends)}"
            )
    return [name for name in layers if any(_fits(target, name, there[name]) for target in targets)]


def _fits(target: str, *names: str) -> bool:
    return any(name == target or name.endswith(f".{target}") or fnmatchcase(name, target) for name in names)


def _listed_targets(model: Any, targets: Iterable[str]) -> list[str]:
    """Return the layers that a list of PEFT's names: whole names on disk, or their last parts."""
    there = _disk_names(model)
    return [name for name, disk in there.items() if any(disk == t or disk.endswith(f".{t}") for t in targets)]


def _disk_names(model: Any) -> dict[str, str]:
    """Return the names that the linear layers of a model have on disk, by ours."""
    names = names_of(model)
    return {name: names.to_disk(f"{name}.weight").removesuffix(".weight") for name in linear_layers(model)}


def _shortest(there: Mapping[str, str], adapted: Iterable[str]) -> list[str]:
    """Return the shortest ends of names on disk that tell what is adapted: one part of each name, or two, or the whole."""
    whole = [there[name] for name in adapted]
    for size in (1, 2):
        ends = {".".join(name.split(".")[-size:]) for name in whole}
        if sum(".".join(name.split(".")[-size:]) in ends for name in there.values()) == len(whole):
            return sorted(ends)
    return sorted(whole)


def _adapters(model: Module) -> list[str]:
    return [f"{name}.{part}" for name, _ in lora_layers(model) for part in ("lora_A", "lora_B")]


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
