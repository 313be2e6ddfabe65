"""What a task's model starts from: a pretrained model, or a new one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from numformer._notices import say
from numformer.errors import InputError
from numformer.models.build import build_backbone
from numformer.models.config import ArchitectureConfig
from numformer.nn.dropout import set_dropout
from numformer.pretrained import adapter_of
from numformer.pretrained.finding import find_model
from numformer.pretrained.opening import Opened, open_model
from numformer.tasks.shared.format import DataConfig
from numformer.training import RunFolder
from numformer.training.answering import answering_folder, describe_answering


def open_source(source: str | Path, last: bool = False, base: str | Path | None = None) -> Opened:
    """Return the model that a folder, a file or a name means, of a run the best one or the `last`, which is said on stderr.

    Adapters come with their model; `base` is where that one lies now. Raises InputError when something is missing or damaged.
    """
    if not isinstance(source, (str, Path)):
        raise InputError(f"a model is loaded from a folder, a file or a name, got {source!r:.60}")
    place = find_model(source)
    if line := describe_answering(place, last):
        say(line)
    return open_model(answering_folder(place, last), base)


def start_of(pretrained: str, resumed: RunFolder | None) -> str | Path:
    """Return where the model comes from: a run that is continued has it already, wherever its start has gone.

    One that keeps adapters alone starts from their model once more.
    """
    has_model = resumed is not None and (resumed.path / "model.safetensors").exists()
    return resumed.path if resumed is not None and has_model else pretrained


def pretrained_model(
    source: str | Path, config: ArchitectureConfig, default: ArchitectureConfig, resumed: RunFolder | None = None
) -> Opened:
    """Return the model that a source means, with the dropout of a config that does not leave it at the default.

    Of the run that is continued it is the last. Raises InputError when the config has another shape than the model, which
    brings its own, and for adapters.
    """
    opened = open_source(source, last=resumed is not None and source == resumed.path)
    model = opened.model
    if adapter_of(model) is not None:
        raise InputError(f"{source} holds adapters: start from what `numformer merge {source} OUT` writes")
    dropout = model.config.dropout if config.dropout == default.dropout else config.dropout
    shapes = [dataclasses.replace(each, dropout=dropout) for each in (config, default, model.config)]
    if shapes[0] not in shapes[1:]:  # a run that is repeated says the shape once more
        raise InputError(f"the shape of the model comes from {source}: leave out the model's settings but dropout")
    set_dropout(model, dropout)
    return opened


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
