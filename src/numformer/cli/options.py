"""Options of a command, from a dataclass: its fields are the options, their docstrings the help."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from typing import Any, TypeVar

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


def check_owners(options: Any, owners: dict[str, type], task: Any) -> None:
    """Raise InputError for an option that was given and is not for the task of the run, but for its owner's."""
    for field in dataclasses.fields(options):
        owner = owners.get(field.name, object)
        if getattr(options, field.name) != field.default and not isinstance(task, owner):
            raise InputError(f"--{field.name.replace('_', '-')} is not for {options.run}, whose task is {task.name}")
