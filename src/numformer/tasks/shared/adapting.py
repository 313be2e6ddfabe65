"""Adapters of a task: what they go with, where they are put, and what a run says of them."""

from __future__ import annotations

from typing import Any

from numformer._notices import amount
from numformer.errors import InputError
from numformer.nn.lora import lora_layers
from numformer.pretrained import NO_ADAPTERS, adapt, adapter_of
from numformer.pretrained.finding import is_name
from numformer.pretrained.opening import Opened
from numformer.training import RunFolder
from numformer.training.settings import BASE, as_plain


def check_adapters(config: Any) -> None:
    """Raise InputError for adapters of no model or no rank, and for parts to freeze where all but adapters is frozen."""
    if not config.lora.rank and config.lora != NO_ADAPTERS:
        raise InputError("settings of adapters need their rank: say --lora.rank too (lora of rank 1 or more)")
    if config.lora.rank and config.pretrained is None:
        raise InputError("adapters belong to a trained model: name it with --from (pretrained)")
    if config.lora.rank and config.freeze:
        raise InputError("adapters leave all of the model as it is: leave out freeze")


def put_adapters(model: Any, config: Any, opened: Opened, seed: int, resumed: RunFolder | None) -> None:
    """Put the adapters that a config asks for into a model made of `opened`, which is known by its name where it has one.

    Raises InputError when the run to continue began with other weights.
    """
    if not config.lora.rank:
        return
    adapt(model, config.lora, opened.path, seed, config.pretrained if is_name(config.pretrained) else None)
    adapter = adapter_of(model)
    assert adapter is not None
    if resumed and resumed.read_settings().get(BASE, adapter.base_crc32) != adapter.base_crc32:
        raise InputError(f"cannot resume: {adapter.base} has other weights now than when the run began")


def adapters_in_run(model: Any, config: Any) -> dict[str, Any]:
    """Return what run.toml says of the adapters of a model, nothing where it has none."""
    adapter = adapter_of(model)
    return {} if adapter is None else {BASE: adapter.base_crc32, "lora": as_plain(config.lora)}


def describe_adapters(model: Any) -> dict[str, str]:
    """Return what people are told of the adapters of a model, nothing where it has none."""
    if (adapter := adapter_of(model)) is None:
        return {}
    layers = amount(sum(1 for _ in lora_layers(model)), "layers")
    return {"adapters": f"of rank {adapter.config.rank} on {layers} of {adapter.base}"}
