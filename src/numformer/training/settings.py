"""The settings of a run as keywords, as plain TOML values, and compared with those of the run that is continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from numformer._names import check_settings, rename_settings
from numformer.errors import InputError
from numformer.tokenizers import KINDS
from numformer.training.config import OptimConfig, TrainConfig

Settings = TypeVar("Settings")

# What may change when a run is continued: how it is watched, how it computes, its length, and how fast it learns.
WATCHING = {"eval_every", "eval_examples", "log_every", "patience", "threads", "recompute", "backend", "mesh"}
FREE_ON_RESUME = WATCHING | {"precision", "steps", "lr", "schedule", "warmup_steps", "min_lr_ratio", "clip_norm"}

# What run.toml says besides options: checksums and sizes of the data, and what was changed on the way.
CHECKSUMS = ("text_crc32", "crc32")
COUNTS = {"num_examples": "examples", "num_bytes": "bytes"}
BASE = "base_crc32"  # the checksum of the weights that adapters belong to
RECORDED = ("task", "resumed", BASE, *CHECKSUMS, *COUNTS)

# What the command line shows at the end, which is no part of the training; a resumed run ends with the same.
SHOWN = ("sample", "prompt")

# Settings that the runs of earlier versions do not say, and what these did.
SINCE_ADDED = {"skip_bad": False, "word_column": "auto", "text": [], "layer_decay": 1.0}

# Files may have moved; the checksums and the tokens tell whether they are the same.
NOT_COMPARED = ("data", "valid", "tokenizer", "pretrained", "resumed", "loss", BASE, *SHOWN, *CHECKSUMS, *COUNTS)


def sort_settings(train: TrainConfig, optim: OptimConfig, settings: dict[str, Any]) -> tuple[TrainConfig, OptimConfig]:
    """Put keyword settings into the two classes they are fields of; raises InputError for an unknown or a wrong one."""
    of_train = {field.name for field in dataclasses.fields(TrainConfig)}
    of_optim = {field.name for field in dataclasses.fields(OptimConfig)}
    check_settings(settings, of_train | of_optim)
    hints = get_type_hints(TrainConfig) | get_type_hints(OptimConfig)
    settings = {
        # The configs themselves say which words there are.
        name: value if get_origin(hints[name]) is Literal else _convert(hints[name], _plain(value), "fit", name)
        for name, value in settings.items()
    }
    return (
        dataclasses.replace(train, **{k: v for k, v in settings.items() if k in of_train}),
        dataclasses.replace(optim, **{k: v for k, v in settings.items() if k in of_optim}),
    )


def _plain(value: Any) -> Any:
    """Return a value as a TOML file would have it: Python's numbers for NumPy's, a list for a tuple."""
    value = value.item() if isinstance(value, np.generic) else value
    return list(value) if isinstance(value, tuple) else value


def make_config(config_class: type[Settings], settings: dict[str, Any]) -> Settings:
    """Return a config with these fields; raises InputError for one that it does not have."""
    check_settings(settings, {field.name for field in dataclasses.fields(config_class)})  # type: ignore[arg-type]
    return config_class(**settings)


def as_plain(config: Any) -> dict[str, Any]:
    """Return a config's fields as TOML has them: lists for tuples, nothing for None, tables for configs inside."""
    plain: dict[str, Any] = _as_toml(dataclasses.asdict(config))
    return plain


def _as_toml(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_toml(each) for name, each in value.items() if each is not None}
    return [_as_toml(each) for each in value] if isinstance(value, tuple) else value


def from_plain(settings_class: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """Build settings from the tables of a TOML file; raises InputError for an unknown key or a value of the wrong type."""
    hints = get_type_hints(settings_class)
    known = {field.name for field in dataclasses.fields(settings_class) if field.init}  # type: ignore[arg-type]
    try:
        values = rename_settings(values, known)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    settings = {key: _convert(hints[key], value, where, key) for key, value in values.items()}
    if missing := sorted(_required(settings_class) - set(settings)):
        raise InputError(f"{where}: {', '.join(missing)} is missing")
    try:
        return settings_class(**settings)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _required(settings_class: type[Any]) -> set[str]:
    fields = dataclasses.fields(settings_class)
    return {f.name for f in fields if f.init and f.default is f.default_factory is dataclasses.MISSING}


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    if type(None) in get_args(hint) and len(get_args(hint)) == 2:  # what may be None, for which TOML has no word
        if value is None:  # given in Python
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):  # made in Python
            return value
        if not isinstance(value, dict):
            raise InputError(f"{where}: {key} must be a table [{key}], got {value!r}")
        return from_plain(hint, value, f"{where} [{key}]")
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        any_number = kinds[-1] is ...
        if any_number and not isinstance(value, list):
            value = [value]  # a single name, as it was written when only one could be given
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


def check_same_data(before: dict[str, Any], now: dict[str, Any], seed: int, run: Path) -> None:
    """Raise InputError when a run would be continued on other data, or with settings that lead to other data."""
    for name in {**now, **before}:
        if name not in NOT_COMPARED and not isinstance(now.get(name, before.get(name)), dict):
            _check_same(name, _as_now(name, before), now.get(name))
    kinds = [before.get("tokenizer"), now.get("tokenizer")]
    if any(kind in KINDS for kind in kinds):  # the folder of a saved one may have moved
        _check_same("tokenizer", *kinds)
    if "seed" in table_of(before, "train"):
        _check_same("seed", before["train"]["seed"], seed)
    if not is_same_data(before, now):
        raise InputError(f"cannot resume: {changed_data(before, now, run)}")


def is_same_data(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Tell whether data have the checksum that a run wrote down; of a text the one of its bytes, where it has that."""
    name = next((name for name in CHECKSUMS if name in before), "")
    return name not in now or before[name] == now[name]


def changed_data(before: dict[str, Any], now: dict[str, Any], run: str | Path) -> str:
    """Return in words that the data of a run has changed, with its sizes where they say something."""
    sizes = [
        f": {before[name]:,} {what} then, {now[name]:,} now"
        for name, what in COUNTS.items()
        if name in before and before[name] != now[name]
    ]
    return f"the data of {run} has changed since the run began{''.join(sizes)}"


def check_same_run(before: dict[str, Any], now: dict[str, Any], run: Path) -> None:
    """Raise InputError when a run would be continued with data or settings that make it another run."""
    check_same_data(before, now, now["train"]["seed"], run)
    if before.get("loss") != now.get("loss"):
        known, given = (each.get("loss", "the usual one") for each in (before, now))
        raise InputError(f"cannot resume: the loss of the run is {known}, got {given}: fit takes it as `loss`")
    for table in ("model", "lora", "optim", "train"):
        old, new = table_of(before, table), table_of(now, table)
        for key in {**new, **old}:
            if key == "model_type" and key not in old:
                continue  # It was not always written; the other keys tell whether the architecture is the same.
            if key not in FREE_ON_RESUME:
                _check_same(key, _fixed(key, old.get(key, SINCE_ADDED.get(key))), _fixed(key, new.get(key)))


def _fixed(key: str, value: Any) -> Any:
    """Return what must stay of a setting when a run is continued: of groups all but their rates."""
    if key != "groups" or not isinstance(value, list):
        return value or None if key == "groups" else value
    return [{name: group[name] for name in group if name not in FREE_ON_RESUME} for group in value] or None


def _as_now(name: str, before: dict[str, Any]) -> Any:
    """Return a setting of a run as a run of today says it."""
    value = before.get(name, SINCE_ADDED.get(name))
    return [value] if name == "text" and isinstance(value, str) else value


def _check_same(name: str, old: Any, new: Any) -> None:
    if new != old:
        raise InputError(f"cannot resume: {name} is {new!r}, but the run has {old!r}")


def earlier_parts(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what run.toml says of the parts of a run that had other settings; raises InputError when it is no such list."""
    parts = settings.get("resumed", [])
    if not isinstance(parts, list) or any(
        not isinstance(part, dict) or set(part) != {"at_step", "before"} for part in parts
    ):
        raise InputError(f"run.toml: resumed must be a list of tables with at_step and before, got {parts!r}")
    return parts


def resumptions(before: dict[str, Any], now: dict[str, Any], step: int) -> dict[str, Any]:
    """Return what run.toml says of a run that is resumed at a step: the settings it had before, where they change weights.

    The settings in run.toml are those of the last part of the run, and do not repeat a run whose first part had others.
    """
    was, new = table_of(before, "optim") | table_of(before, "train"), now["optim"] | now["train"]
    names = FREE_ON_RESUME - WATCHING - (set() if new["schedule"] in ("cosine", "linear") else {"steps"})
    changed = {name: was[name] for name in sorted(names) if name in was and was[name] != new[name]}
    parts = [*earlier_parts(before), *([{"at_step": step, "before": changed}] if step and changed else [])]
    return {"resumed": parts} if parts else {}
