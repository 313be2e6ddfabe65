"""`numformer data list` and `numformer data fetch`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from numformer.cli.options import parse
from numformer.data import fetch, list_corpora


@dataclass(kw_only=True)
class ListTexts:
    """List the texts known by name, with size, licence and whether they are on this machine."""


@dataclass(kw_only=True)
class FetchText:
    """Download a text, check its SHA-256 and print where it is; `--data NAME` finds it from then on."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name from `numformer data list`."""
    folder: Path | None = None
    """Put it here instead of the cache ($NUMFORMER_CACHE, or ~/.cache/numformer)."""
    url: str | None = None
    """Another place to download the same file from."""


def run(command: str, arguments: list[str]) -> int:
    """List or fetch."""
    if command == "data list":
        parse(ListTexts, command, arguments)
        for corpus, present in list_corpora():
            here = "present" if present else "not fetched"
            print(f"{corpus.name:<16} {corpus.size:<14} {here:<12} {corpus.description} ({corpus.licence})")
    else:
        options = parse(FetchText, command, arguments)
        print(fetch(options.name, options.folder, options.url))
    return 0
