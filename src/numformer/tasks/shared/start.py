"""What a task's model starts from: a pretrained model, or a new one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from numformer.errors import InputError
from numformer.models.build import build_backbone
from numformer.models.config import ArchitectureConfig
from numformer.nn.dropout import set_dropout
from numformer.pretrained import adapter_of, is_gguf, load_model, read_gguf
from numformer.tasks.shared.format import DataConfig
from numformer.tokenizers import load_tokenizer
from numformer.training.answering import answering_folder


class Pretrained(NamedTuple):
    """What a task starts from: a model, its tokenizer, and where its weights lie."""

    model: Any
    tokenizer: Any
    path: Path


def open_pretrained(source: str | Path) -> Pretrained:
    """Open a folder, a run (its best weights) or a GGUF file; raises InputError when it is missing or damaged."""
    if is_gguf(source):
        found = read_gguf(source)
        return Pretrained(found.model, found.tokenizer, Path(source))
    return Pretrained(_whole_model(source), load_tokenizer(answering_folder(source)), answering_folder(source))


def _whole_model(folder: str | Path) -> Any:
    """Return the model of a folder; raises InputError where it has adapters, for their model lies elsewhere."""
    model = load_model_of(folder)
    if adapter_of(model) is not None:
        raise InputError(f"{folder} holds adapters: start from what `numformer merge {folder} OUT` writes")
    return model


def load_model_of(folder: str | Path, last: bool = False, base: str | Path | None = None) -> Any:
    """Return the model of a folder, of a run the best one or the `last`; raises InputError when it is missing or damaged.

    `base` is where the model of adapters lies now.
    """
    if not Path(folder).is_dir():
        raise InputError(f"there is no folder {folder}")
    return load_model(answering_folder(folder, last), base)


def base_tokenizer(model: Any) -> Any:
    """Return the tokenizer of the model that adapters belong to."""
    adapter = adapter_of(model)
    assert adapter is not None
    return read_gguf(adapter.base).tokenizer if is_gguf(adapter.base) else load_tokenizer(adapter.base)


def pretrained_model(folder: str | Path, config: ArchitectureConfig, default: ArchitectureConfig) -> Any:
    """Return the model of a folder, of a run the best, with the dropout of a config that does not leave it at the default.

    Raises InputError when the config has another shape than the model, which brings its own.
    """
    return with_dropout(_whole_model(folder), folder, config, default)


def with_dropout(model: Any, folder: str | Path, config: ArchitectureConfig, default: ArchitectureConfig) -> Any:
    """Return a model of a folder with the dropout that a config says; raises InputError when it says another shape."""
    dropout = model.config.dropout if config.dropout == default.dropout else config.dropout
    shapes = [dataclasses.replace(each, dropout=dropout) for each in (config, default, model.config)]
    if shapes[0] not in shapes[1:]:  # a run that is repeated says the shape once more
        raise InputError(f"the shape of the model comes from {folder}: leave out the model's settings but dropout")
    set_dropout(model, dropout)
    return model


def check_no_tokenizer(config: DataConfig) -> None:
    """Raise InputError when a config names a tokenizer beside a pretrained model, which brings its own."""
    for field in dataclasses.fields(config):
        if field.name in ("tokenizer", "vocab_size") and getattr(config, field.name) != field.default:
            raise InputError(f"the tokenizer comes from {config.pretrained}: leave out {field.name}")


def backbone_of(config: DataConfig, model: ArchitectureConfig, seed: int, base: Any) -> Any:
    """Return a new backbone, or that of a pretrained model; raises InputError when it has none to put a head on."""
    if base is None:
        return build_backbone(model, seed)
    if not hasattr(base, "backbone"):
        raise InputError(
            f"{config.pretrained} holds a {type(base).__name__}; this task starts from a model that takes a head"
        )
    return base.backbone
