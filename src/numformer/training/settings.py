"""The settings of a run as keywords, as plain TOML values, and compared with those of the run that is continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from numformer._names import check_settings as check_settings
from numformer._names import rename_settings
from numformer.errors import InputError
from numformer.training.config import OptimConfig, TrainConfig

Settings = TypeVar("Settings")

# What may change when a run is continued: its length, how it is watched, how it computes, and how fast it learns.
FREE_ON_RESUME = {
    *("steps", "eval_every", "eval_examples", "log_every", "patience", "threads", "recompute"),
    *("lr", "schedule", "warmup_steps", "min_lr_ratio", "clip_norm"),
}


def sort_settings(train: TrainConfig, optim: OptimConfig, settings: dict[str, Any]) -> tuple[TrainConfig, OptimConfig]:
    """Put keyword settings into the two classes they are fields of; raises InputError for an unknown one."""
    of_train = {field.name for field in dataclasses.fields(TrainConfig)}
    of_optim = {field.name for field in dataclasses.fields(OptimConfig)}
    check_settings(settings, of_train | of_optim)
    return (
        dataclasses.replace(train, **{k: v for k, v in settings.items() if k in of_train}),
        dataclasses.replace(optim, **{k: v for k, v in settings.items() if k in of_optim}),
    )


def make_config(config_class: type[Settings], settings: dict[str, Any]) -> Settings:
    """Return a config with these fields; raises InputError for one that it does not have."""
    check_settings(settings, {field.name for field in dataclasses.fields(config_class)})  # type: ignore[arg-type]
    return config_class(**settings)


def as_plain(config: Any) -> dict[str, Any]:
    """Return a config's fields as TOML has them: lists for tuples, nothing for None."""
    fields = dataclasses.asdict(config).items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields if value is not None}


def from_plain(settings_class: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """Build settings from the tables of a TOML file; raises InputError for an unknown key or a value of the wrong type."""
    hints = get_type_hints(settings_class)
    known = {field.name for field in dataclasses.fields(settings_class) if field.init}  # type: ignore[arg-type]
    try:
        values = rename_settings(values, known)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    settings = {key: _convert(hints[key], value, where, key) for key, value in values.items()}
    try:
        return settings_class(**settings)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    if type(None) in get_args(hint) and len(get_args(hint)) == 2:  # what may be None, for which TOML has no word
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise InputError(f"{where}: {key} must be a table [{key}], got {value!r}")
        return from_plain(hint, value, f"{where} [{key}]")
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        any_number = kinds[-1] is ...
        if not isinstance(value, list) or not (any_number or len(value) == len(kinds)):
            raise InputError(f"{where}: {key} must be a list{'' if any_number else f' of {len(kinds)}'}, got {value!r}")
        kinds = kinds[:1] * len(value) if any_number else kinds
        return tuple(_convert(kind, each, where, key) for kind, each in zip(kinds, value, strict=True))
    allowed = get_args(hint) or (hint,)
    if value in allowed or any(_fits(value, kind) for kind in allowed if isinstance(kind, type)):
        return Path(value) if Path in allowed and isinstance(value, str) else value
    names = " or ".join(getattr(kind, "__name__", repr(kind)) for kind in allowed if kind is not type(None))
    raise InputError(f"{where}: {key} must be {names}, got {value!r}")


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    accepted: dict[Any, Any] = {float: (int, float), Path: str}
    return isinstance(value, accepted.get(kind, kind))


def table_of(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a table of run.toml, empty when it is not there; raises InputError when it is something else."""
    table = settings.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"run.toml: {name} must be a table [{name}], got {table!r}")
    return table


def check_same_run(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError when a run would be continued with settings that make it another run."""
    for name in {**now, **before}:
        old, new = before.get(name), now.get(name)
        if name in ("data", "valid", "tokenizer"):
            continue  # They may have moved; the text's checksum and the tokens tell whether they are the same.
        if not (isinstance(old, dict) and isinstance(new, dict)):
            old, new = {name: old}, {name: new}
        for key in {**new, **old}:
            if key == "model_type" and key not in old:
                continue  # It was not always written; the other keys tell whether the architecture is the same.
            if key not in FREE_ON_RESUME and new.get(key) != old.get(key):
                changed = f"{key} is {new.get(key)!r}, but the run has {old.get(key)!r}"
                text = "the text has changed since the run began"
                raise InputError(f"cannot resume: {text if key == 'crc32' else changed}")
