"""`numformer generate`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from numformer.cli.options import RunOptions, open_run, parse
from numformer.errors import InputError
from numformer.generation import SamplingConfig
from numformer.tasks import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Generate(SamplingConfig, RunOptions):
    """Continue a prompt with a trained model; the text goes to stdout as it is made."""

    prompt: str = ""
    """Text to continue."""
    max_new_tokens: int = 200
    """Most tokens to add to it."""
    num_samples: int = 1
    """Number of continuations."""
    seed: int = 0
    """Another seed gives another text; the same seed the same."""
    stop: tuple[str, ...] = ()
    """Strings that end a text."""


def run(command: str, arguments: list[str]) -> int:
    """Generate and print."""
    options = parse(Generate, command, arguments)
    if options.num_samples < 1:
        raise InputError(f"num_samples must be at least 1, got {options.num_samples}")
    lm = open_run(options, LanguageModel)
    sampling = SamplingConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(SamplingConfig)})
    alone = options.num_samples == 1
    printer = _Printer(options.prompt)
    texts = lm.generate(
        options.prompt,
        options.max_new_tokens,
        num_samples=options.num_samples,
        stop=options.stop,
        seed=options.seed,
        sampling=sampling,
        on_text=printer if alone else None,
    )
    if alone:
        print(printer.prompt, flush=True)  # the prompt where there was nothing to add
    else:
        for number, text in enumerate(texts, start=1):
            print(f"--- sample {number} of {len(texts)} ---\n{options.prompt}{text}\n", flush=True)
    return 0


class _Printer:
    """Prints the prompt before the first piece, so that an error about the prompt comes alone."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt

    def __call__(self, text: str) -> None:
        print(f"{self.prompt}{text}", end="", flush=True)
        self.prompt = ""
