"""The settings of a run as keywords, as plain TOML values, and compared with those of the run that is continued."""

from __future__ import annotations

import dataclasses
from typing import Any

from numformer.errors import InputError
from numformer.training.config import OptimConfig, TrainConfig

# What may change when a run is continued: its length, how it is watched, how it computes, and how fast it learns.
FREE_ON_RESUME = {
    *("steps", "eval_every", "eval_examples", "log_every", "patience", "threads", "recompute"),
    *("lr", "schedule", "warmup_steps", "min_lr_ratio", "clip_norm"),
}


def sort_settings(train: TrainConfig, optim: OptimConfig, settings: dict[str, Any]) -> tuple[TrainConfig, OptimConfig]:
    """Put keyword settings into the two classes they are fields of; raises InputError for an unknown one."""
    of_train = {field.name for field in dataclasses.fields(TrainConfig)}
    of_optim = {field.name for field in dataclasses.fields(OptimConfig)}
    unknown = set(settings) - of_train - of_optim
    if unknown:
        known = ", ".join(sorted(of_train | of_optim))
        raise InputError(f"unknown setting {', '.join(sorted(unknown))}; known are {known}")
    if "batch_size" in settings and "batch_tokens" not in settings:  # one of the two decides
        settings = settings | {"batch_tokens": 0}
    return (
        dataclasses.replace(train, **{k: v for k, v in settings.items() if k in of_train}),
        dataclasses.replace(optim, **{k: v for k, v in settings.items() if k in of_optim}),
    )


def as_plain(config: Any) -> dict[str, Any]:
    """Return a config's fields as TOML has them: lists for tuples, nothing for None."""
    fields = dataclasses.asdict(config).items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields if value is not None}


def check_same_run(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError when a run would be continued with settings that make it another run."""
    for name in now:
        old, new = before.get(name, {}), now[name]
        if name in ("data", "valid", "tokenizer"):
            continue  # a text may have moved; its checksum tells whether it is the same
        if not isinstance(new, dict):
            old, new = {name: old}, {name: new}
        for key, value in new.items():
            if key not in FREE_ON_RESUME and value != old.get(key):
                changed = f"{key} is {value!r}, but the run has {old.get(key)!r}"
                text = "the text has changed since the run began"
                raise InputError(f"cannot resume: {text if key == 'crc32' else changed}")
