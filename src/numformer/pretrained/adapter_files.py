"""Adapters in PEFT's folder layout: adapter_config.json and adapter_model.safetensors.

Where a head is trained beside them it lies in the same file, and a config.json says what it is: the class of the model with
its labels, as Transformers has it for PEFT to start from.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numformer._files import read_json, write_atomically
from numformer.errors import InputError
from numformer.models.build import task_of
from numformer.models.disk import names_of
from numformer.nn.lora import linear_layers, lora_layers
from numformer.pretrained.adapter_heads import PREFIX, TASKS, with_head
from numformer.pretrained.adapter_targets import disk_names, listed, shortest, whole_parts
from numformer.pretrained.adapters import (
    Adapter,
    LoRAConfig,
    adapter_of,
    put_adapters,
    take_state,
    weights_checksum,
    whole_state,
)
from numformer.pretrained.array_files import read_safetensors, write_safetensors
from numformer.pretrained.finding import find_model, is_name
from numformer.pretrained.fitting import few_names
from numformer.pretrained.floats import check_float
from numformer.pretrained.folders import save_config

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE_CRC = "base_crc32"  # what the metadata of an adapter call the checksum of the weights that it was trained on
UNREAD = ("rank_pattern", "alpha_pattern", "layers_to_transform", "use_dora", "layer_replication")
TASK_TYPES = {"lm": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "regress": "SEQ_CLS"} | {
    task: theirs for theirs, task in TASKS.items()
}
State = dict[str, np.ndarray]  # by the names of parameters


def save_adapter(
    model: Any, folder: str | Path, notes: Mapping[str, str] | None = None, dtype: str = "float32"
) -> None:
    """Write the adapters of a model as PEFT does, and a head that is trained beside them: weights first, files in one step.

    `notes` are kept in the metadata, beside the checksum of the weights that they belong to. Raises InputError for a `dtype`
    that is none of float32, float16 and bfloat16, and a weight that is too large for it.
    """
    check_float(dtype)
    adapter = adapter_of(model)
    assert adapter is not None
    there, names = disk_names(model), names_of(model)
    weights = {
        f"{PREFIX}{there[name]}.{part}.weight": getattr(layer, part).data
        for name, layer in lora_layers(model)
        for part in ("lora_A", "lora_B")
    }
    weights |= {PREFIX + names.to_disk(name): value for name, value in whole_state(model).items()}
    metadata = {"format": "pt", BASE_CRC: str(adapter.base_crc32), **(notes or {})}
    write_safetensors(Path(folder) / WEIGHTS, weights, metadata, dtype)
    save_adapter_config(model, folder)


def save_adapter_config(model: Any, folder: str | Path) -> None:
    """Write adapter_config.json in one step, and before it the config.json of a model with a head."""
    adapter, names = adapter_of(model), names_of(model)
    assert adapter is not None
    adapted, whole = [name for name, _ in lora_layers(model)], whole_parts(model)
    if whole:
        save_config(model, folder)
    keys = {
        "peft_type": "LORA",
        "task_type": TASK_TYPES.get(task_of(model)),
        "base_model_name_or_path": adapter.base,
        "r": adapter.config.rank,
        "lora_alpha": adapter.config.alpha,
        "lora_dropout": adapter.config.dropout,
        "target_modules": shortest(disk_names(model), adapted),
        "modules_to_save": sorted({names.module_of(f"{name}.weight") for name in whole}) or None,
        "fan_in_fan_out": any(names.is_transposed(f"{name}.weight") for name in adapted),
        "bias": "none",
        "inference_mode": True,
    }
    write_atomically(Path(folder) / CONFIG, json.dumps(keys, indent=2) + "\n")


def read_adapter(folder: str | Path, open_base: Callable[[Path], Any], base: str | Path | None = None) -> Any:
    """Return the model that `open_base` opens, with the adapters in a folder and their head, in evaluation mode.

    Without `base` it is the one that the adapters name. Raises InputError when it is not there, has other weights than those
    that the adapters were trained on, or is another model, and for adapters of a kind that is not read.
    """
    folder = Path(folder)
    keys = read_json(folder / CONFIG)
    weights, metadata = read_safetensors(folder / WEIGHTS)
    try:
        name, path = _base_of(keys, base)
        config = _settings(keys)
        crc = weights_checksum(path)
        if base is None and metadata.get(BASE_CRC, str(crc)) != str(crc):
            raise InputError(f"its base {path} has other weights now than those that it was trained on")
        opened = open_base(path)
        known = {id(parameter) for parameter in opened.parameters()}
        model = with_head(opened, keys, folder, weights)
        new = [name for name, parameter in model.named_parameters() if id(parameter) not in known]
        _take(model, weights, Adapter(config, name, path.resolve(), crc), new)
    except InputError as error:
        raise InputError(f"the adapter {folder}: {error}") from None
    return model.eval()


def take_adapter(model: Any, folder: str | Path) -> None:
    """Give a model with adapters those in a folder; raises InputError when they are missing, damaged or another model's."""
    weights, _ = read_safetensors(Path(folder) / WEIGHTS)
    take_state(model, {name: value for each in _sorted_out(model, weights) for name, value in each.items()})


def _take(model: Any, weights: Mapping[str, np.ndarray], adapter: Adapter, new: list[str]) -> None:
    """Put adapters that are read into a model; raises InputError, and changes nothing, where they do not fit it.

    `new` are the parameters that the model has no values for without them.
    """
    rank, layers = adapter.config.rank, linear_layers(model)
    thin, whole = _sorted_out(model, weights)
    names = [name for name in layers if f"{name}.lora_A" in thin or f"{name}.lora_B" in thin]
    wanted = {f"{name}.lora_A": (rank, layers[name].weight.shape[1]) for name in names}
    wanted |= {f"{name}.lora_B": (layers[name].weight.shape[0], rank) for name in names}
    own, state = whole_state(model), thin | whole
    wanted |= {name: own[name].shape for name in own if name in whole or name in new}
    disk = names_of(model)
    if wrong := [
        f"{disk.to_disk(name)} (got {list(state[name].shape) if name in state else 'nothing'}, expected {list(shape)})"
        for name, shape in wanted.items()
        if name not in state or state[name].shape != shape
    ]:
        raise InputError(f"it does not fit {type(model).__name__}: {few_names(wrong, 3)}")
    if missing := [name for name in listed(model, adapter.config.targets) if name not in names]:
        raise InputError(f"it has no weights for {few_names(missing, 3)}, which it names")
    for name, value in state.items():
        if not np.isfinite(value).all():
            raise InputError(f"{disk.to_disk(name)} holds values that are no numbers")
    put_adapters(model, names, adapter)
    model.load_state_dict(state, strict=False)


def _sorted_out(model: Any, weights: Mapping[str, np.ndarray]) -> tuple[State, State]:
    """Return the arrays of a file by the names that they have here: those of adapters, and those of parts trained whole."""
    ours, names, own = {there: name for name, there in disk_names(model).items()}, names_of(model), whole_state(model)
    thin, whole, unknown = State(), State(), list[str]()
    for name, value in weights.items():
        match = re.fullmatch(r"(.*)\.(lora_[AB])(?:\.default)?\.weight", name.removeprefix(PREFIX))
        if match and match[1] in ours:
            thin[f"{ours[match[1]]}.{match[2]}"] = value
        elif (there := names.from_disk(name.removeprefix(PREFIX))) in own:
            whole[there] = value
        else:
            unknown.append(name)
    if unknown or not thin:
        lacks = f"it has no {few_names(unknown, 3)}" if unknown else "it holds no weights of LoRA"
        raise InputError(f"it does not fit {type(model).__name__}: {lacks}")
    return thin, whole


def _settings(keys: Mapping[str, Any]) -> LoRAConfig:
    """Return the settings in an adapter_config.json; alpha is the one that makes alpha/rank the factor of the adapters."""
    if keys.get("peft_type") != "LORA":
        raise InputError(f"its peft_type is {keys.get('peft_type')!r}; only LORA is read")
    unread = [name for name in UNREAD if keys.get(name)]
    if keys.get("modules_to_save") and keys.get("task_type") not in TASKS:  # parts of a model that goes on as it is
        unread.append("modules_to_save")
    if unread:
        raise InputError(f"it has {', '.join(unread)}, which is not read")
    if keys.get("bias", "none") != "none":
        raise InputError(f"it has biases (bias is {keys['bias']!r}), which are not read")
    rank, alpha, dropout = (
        keys.get(name, default) for name, default in (("r", 8), ("lora_alpha", 8), ("lora_dropout", 0.0))
    )
    targets = keys.get("target_modules") or []
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float) or type(dropout) not in (int, float):
        raise InputError(f"r, lora_alpha and lora_dropout must be numbers, got {rank!r}, {alpha!r} and {dropout!r}")
    targets = tuple(map(str, targets)) if isinstance(targets, list) else ()
    alpha = alpha * math.sqrt(rank) if keys.get("use_rslora") else float(alpha)
    return LoRAConfig(rank=rank, alpha=alpha, dropout=float(dropout), targets=targets)


def _base_of(keys: Mapping[str, Any], base: str | Path | None) -> tuple[str, Path]:
    """Return what names the model of adapters, in `base` or where they say, and where it lies."""
    named = keys.get("base_model_name_or_path") if base is None else base
    if not isinstance(named, (str, Path)) or not str(named):
        raise InputError("it does not say which model it belongs to: give that one as base")
    try:
        path = find_model(named)
    except InputError as error:
        way_out = str(error) if is_name(named) else "give the folder, the file or the name of the model as base"
        raise InputError(f"its base {str(named)[:200]} is not there: {way_out}") from None
    if (path / CONFIG).is_file():
        raise InputError(f"its base {path} has adapters itself: merge them with `numformer merge` first")
    return (str(named) if is_name(named) else str(path.resolve())), path
