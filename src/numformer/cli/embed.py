"""`numformer embed`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path

from numformer._notices import amount, say
from numformer.cli.shared.counter import LiveCounter
from numformer.cli.shared.inputs import InputOptions, encoding_for, open_inputs
from numformer.cli.shared.options import parse
from numformer.cli.shared.outputs import check_free
from numformer.data.vectors import check_vector_file, writing_vectors
from numformer.tasks import Embedder


@dataclass(frozen=True, kw_only=True)
class Embed(InputOptions):
    """Write the vectors of texts into a file of NumPy, float32, a row for each text in its order."""

    out: Path
    """File to write, ending in .npy."""
    overwrite: bool = False
    """Replace the file of --out."""
    batch_size: int = 32
    """Texts that are read together; more take more memory."""


def run(command: str, arguments: list[str]) -> int:
    """Read, and write each vector as it comes."""
    options = parse(Embed, command, arguments)
    check_vector_file(options.out)
    check_free(options.out, options.overwrite)
    embedder = Embedder.load(options.run, last=options.last)
    inputs = open_inputs(replace(options, encoding=encoding_for(options, embedder)), embedder, {})
    count = blank = 0
    with (
        writing_vectors(options.out, embedder.width) as write,
        LiveCounter(sys.stderr.isatty()) as counter,
    ):
        rows, asked = tee(inputs.rows)
        vectors = embedder.stream((row.given for row in asked), paused=inputs.paused, batch_size=options.batch_size)
        for vector, row in zip(vectors, rows, strict=True):
            write(vector)
            count, blank = count + 1, blank + (row.given is None)
            counter.show(count)
    if blank:
        say(f"{blank:,} of {amount(count, 'texts')} blank, with the vector of the empty text")
    say(f"{options.out}: {amount(count, 'vectors')} of {embedder.width} numbers")
    return 0
