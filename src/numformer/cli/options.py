"""Options of a command, from a dataclass: its fields are the options, their docstrings the help."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from numformer.errors import InputError

Options = TypeVar("Options")


def parse(options_class: type[Options], command: str, arguments: list[str], default: Options | None = None) -> Options:
    """Return the options that the arguments give, over `default`; raises InputError in one sentence for a wrong one."""
    import tyro

    complaint = io.StringIO()
    settings: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                options_class,
                prog=f"numformer {command}",
                args=arguments,
                config=(tyro.conf.AvoidSubcommands,),
                **settings,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{_sentence(complaint.getvalue())}; see numformer {command} --help") from None


def from_plain(options_class: type[Options], values: dict[str, Any], where: str) -> Options:
    """Build options from the tables of a TOML file; raises InputError for an unknown key or a value of the wrong type."""
    hints = get_type_hints(options_class)
    known = {field.name for field in dataclasses.fields(options_class) if field.init}  # type: ignore[arg-type]
    settings: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{where}: unknown setting {key!r}; known are {', '.join(sorted(known))}")
        settings[key] = _convert(hints[key], value, where, key)
    try:
        return options_class(**settings)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
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


def _sentence(complaint: str) -> str:
    """Return the first paragraph of tyro's message without its frame, and its first suggestion."""
    lines = [
        line.strip(" │╭╮╰╯─-\t") if set(line.strip()) <= set("│╭╮╰╯─- ") else line.strip(" │")
        for line in complaint.splitlines()
    ]
    paragraphs = " ".join(line or "\n" for line in lines[1:]).split("\n")
    text = next((" ".join(p.split()) for p in paragraphs if p.strip()), "the options cannot be understood")
    words = " ".join(lines).partition("Perhaps you meant:")[2].split()
    hint = f" (did you mean {words[0]}?)" if words else ""
    return text[:1].lower() + text[1:].rstrip(".") + hint


def warn(message: str) -> None:
    """Print a message for a person on stderr."""
    print(message, file=sys.stderr, flush=True)
