"""`numformer merge`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from numformer._notices import say
from numformer.cli.shared.options import RunOptions, parse
from numformer.errors import InputError
from numformer.pretrained import adapter_of, merge
from numformer.tasks import load


@dataclass(frozen=True, kw_only=True)
class Merge(RunOptions):
    """Write adapters and the model that they belong to as one ordinary folder, which needs neither any more."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder to write."""
    base: str | None = None
    """Model that the adapters belong to, named as RUN; the one that they name when not given."""
    overwrite: bool = False
    """Write into a folder that is there already."""


def run(command: str, arguments: list[str]) -> int:
    """Load, merge and write."""
    options = parse(Merge, command, arguments)
    if options.out.exists() and (not options.out.is_dir() or (any(options.out.iterdir()) and not options.overwrite)):
        raise InputError(f"{options.out} exists: name a new folder, or replace what is in a folder with --overwrite")
    task = load(options.run, last=options.last, base=options.base)
    if (adapter := adapter_of(task.model)) is None:
        raise InputError(f"{options.run} holds no adapters, so there is nothing to merge")
    for kept in (options.run, adapter.path):
        if options.out.resolve() in (kept.resolve(), *kept.resolve().parents):
            raise InputError(f"{options.out} would replace {kept}, which it is made of: name another folder")
    merge(task.model)
    task.save(options.out)
    say(f"{options.out}: {adapter.base} with the adapters of {options.run}")
    return 0
