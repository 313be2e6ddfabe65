"""`numformer evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from numformer.cli.options import parse
from numformer.tasks import LanguageModel


@dataclass(kw_only=True)
class Evaluate:
    """Print the loss (nats per token), the perplexity and the number of tokens as one JSON object."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, of its best/, or of a saved model."""
    data: str | None = None
    """Text file or known text; the run's own held-out text when not given."""
    max_windows: int | None = None
    """Measure on this many windows spread over the text instead of all of it."""


def run(command: str, arguments: list[str]) -> int:
    """Evaluate and print."""
    options = parse(Evaluate, command, arguments)
    lm = LanguageModel.load(options.run)
    if options.data is None:
        lm.load_held_out(options.run)
    text = None if options.data is None else Path(options.data)
    print(json.dumps(lm.evaluate(text, max_windows=options.max_windows)))
    return 0
