"""`numformer similar`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from numformer.cli.shared.inputs import InputOptions, ReadingOptions, encoding_for, open_inputs
from numformer.cli.shared.options import parse
from numformer.cli.shared.outputs import open_output
from numformer.cli.shared.rows import Inputs
from numformer.data.vectors import read_vectors
from numformer.tasks import Embedder


@dataclass(frozen=True, kw_only=True)
class Similar(ReadingOptions):
    """Print which texts are the most similar to a query, with the cosine: for people on a terminal, else as JSON lines."""

    query: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUERY")]
    """The text to compare with."""
    corpus: Path
    """The texts: a table (.csv, .tsv, .jsonl, .json), or another file with a text on every line."""
    vectors: Path | None = None
    """The vectors of the corpus that `numformer embed` has written, so that they are not made again."""
    top: int = 5
    """How many texts to print."""
    batch_size: int = 32
    """Texts that are read together; more take more memory."""


def run(command: str, arguments: list[str]) -> int:
    """Read, compare and print."""
    options = parse(Similar, command, arguments)
    embedder = Embedder.load(options.run, last=options.last)
    inputs = _open_corpus(options, embedder)
    rows = list(inputs.rows)
    vectors = None if options.vectors is None else read_vectors(options.vectors, len(rows), embedder.width)
    texts = [row.given or "" for row in rows]
    found = embedder.similar(options.query, texts, vectors=vectors, top=options.top, batch_size=options.batch_size)
    with open_output(None, command, embedder, {}, inputs) as write:
        for each in found:
            write(rows[each["index"]], each)
    return 0


def _open_corpus(options: Similar, embedder: Embedder) -> Inputs:
    reading = InputOptions(
        run=options.run,
        input=options.corpus,
        text=options.text,
        encoding=options.encoding,
        skip_bad=options.skip_bad,
    )
    return open_inputs(replace(reading, encoding=encoding_for(reading, embedder)), embedder, {})
