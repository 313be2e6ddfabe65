"""`numformer data list`, `numformer data fetch` and `numformer data clean-pairs`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from numformer.cli.shared.options import parse
from numformer.data import fetch, list_corpora
from numformer.data.pairs.cleaning import REASONS, PairFilters, clean_file
from numformer.data.pairs.splitting import check_output, make_report, split_pairs, write_parts

if TYPE_CHECKING:
    from numformer.training._live import LiveLine


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


@dataclass(kw_only=True)
class CleanPairs:
    """Clean a TSV file of sentence pairs and split it into train.tsv, valid.tsv, test.tsv, with a report.json.

    Pairs that share a source or a target, up to case, punctuation and spacing, come into the same part.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """TSV file with a pair in each row, such as an export of Tatoeba."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder for the parts and the report."""
    valid_size: int = 1000
    """Pairs to hold out for validation."""
    test_size: int = 1000
    """Pairs to hold out for the test."""
    seed: int = 0
    """Seed of the draw of held-out pairs."""
    overwrite: bool = False
    """Replace these four files where OUT has them; other files stay."""
    encoding: str = "utf-8"
    """Encoding of the file; rows that are not in it are dropped."""
    filters: Annotated[PairFilters, tyro.conf.arg(name="")] = field(default_factory=PairFilters)


def run(command: str, arguments: list[str]) -> int:
    """List, fetch or clean."""
    if command == "data list":
        parse(ListTexts, command, arguments)
        for corpus, present in list_corpora():
            here = "present" if present else "not fetched"
            print(f"{corpus.name:<16} {corpus.size:<14} {here:<12} {corpus.description} ({corpus.licence})")
    elif command == "data fetch":
        options = parse(FetchText, command, arguments)
        print(fetch(options.name, options.folder, options.url))
    else:
        _clean(parse(CleanPairs, command, arguments))
    return 0


def _clean(options: CleanPairs) -> None:
    check_output(options.out, options.overwrite, options.file)  # before any work
    sizes = {"valid_size": options.valid_size, "test_size": options.test_size, "seed": options.seed}
    with _bar_when_slow() as bar:
        bar.begin("cleaning", options.file.stat().st_size if options.file.exists() else None)
        cleaned = clean_file(
            options.file, options.filters, lambda num_bytes: bar.advance(bar.number, num_bytes), options.encoding
        )
        bar.begin("splitting", None)
        parts = split_pairs(cleaned.pairs, **sizes)
        report = make_report(cleaned, parts, options.filters, input=str(options.file), **sizes)
        write_parts(options.out, parts, report)
    _print_report(report)


@contextmanager
def _bar_when_slow(seconds: float = 2.0) -> Iterator[LiveLine]:
    """Yield a line with a bar that appears on stderr, if that is a terminal, when the block takes longer than this."""
    from numformer.training._live import LiveLine

    bar = LiveLine("", None, as_share=True)
    timer = threading.Timer(seconds, bar.start)
    timer.start()
    try:
        yield bar
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def _print_report(report: dict[str, Any]) -> None:
    lines = [("rows", report["rows"])]
    lines += [(f"- {REASONS[reason]}", count) for reason, count in report["dropped"].items() if count]
    lines += [("kept", report["kept"])]
    lines += [(f"= {part}.tsv", count) for part, count in report["parts"].items()]
    for name, count in lines:
        print(f"{name:<32} {count:>12,}")
