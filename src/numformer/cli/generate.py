"""`numformer generate`."""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
from dataclasses import dataclass
from typing import Literal, get_type_hints

from numformer._notices import say
from numformer.cli.shared.options import RunOptions, open_run, parse
from numformer.errors import InputError
from numformer.generation import SamplingConfig
from numformer.tasks import LanguageModel
from numformer.tasks.shared.writing import WritingSettings

SAID_AFTER = 2.0  # seconds that a pipe may be silent before the command says what it waits for
SETTINGS = frozenset(get_type_hints(WritingSettings))


@dataclass(frozen=True, kw_only=True)
class Generate(SamplingConfig, RunOptions):
    """Continue a prompt with a trained model; the text goes to stdout as it is made.

    What is not given is as the model's generation_config.json says, where it has one.
    """

    prompt: str | None = None
    """Text to continue; when not given, what comes on standard input through a pipe or from a file."""
    max_new_tokens: int = 200
    """Most tokens to add to it."""
    num_samples: int = 1
    """Number of continuations; of a search the best ones."""
    seed: int = 0
    """Another seed gives another text; the same seed the same."""
    backend: Literal["numpy", "jax"] = "numpy"
    """What runs the model: jax compiles it, which takes seconds before the first token, and uses an accelerator."""
    stop: tuple[str, ...] = ()
    """Strings that end a text."""
    bad_words: tuple[str, ...] = ()
    """Words that are not written."""
    num_beams: int = 1
    """Above 1, the width of a beam search, which takes the place of drawing tokens."""
    length_penalty: float = 1.0
    """Power of the length that the scores of a search are divided by: larger values favour longer texts."""
    early_stopping: bool | Literal["never"] = False
    """True ends a search with the first num_beams results, False when better ones are unlikely, never when there are none."""


def run(command: str, arguments: list[str]) -> int:
    """Generate and print."""
    options = parse(Generate, command, arguments)
    if options.num_samples < 1:
        raise InputError(f"num_samples must be at least 1, got {options.num_samples}")
    lm = open_run(options)
    if not isinstance(lm, LanguageModel):
        use = "translate or predict" if hasattr(lm, "translate") else "embed" if lm.name == "embed" else "predict"
        raise InputError(
            f"generate needs a language model; the task of {options.run} is {lm.name}: use numformer {use}"
        )
    given = {argument.partition("=")[0].lstrip("-").replace("-", "_") for argument in arguments if argument[:2] == "--"}
    alone = options.num_samples == 1
    prompt = (
        piped_text('a prompt on standard input; --prompt "" begins without one')
        if options.prompt is None
        else options.prompt
    )
    printer = _Printer(prompt)
    texts = lm.generate(
        prompt,
        options.max_new_tokens,
        num_samples=options.num_samples,
        stop=options.stop,
        seed=options.seed,
        backend=options.backend,
        on_text=printer if alone else None,
        **{name: getattr(options, name) for name in SETTINGS & given},
    )
    if alone:
        print(printer.prompt, flush=True)  # the prompt where there was nothing to add
    else:
        for number, text in enumerate(texts, start=1):
            print(f"--- sample {number} of {len(texts)} ---\n{prompt}{text}\n", flush=True)
    return 0


def piped_text(what: str) -> str:
    """Return what comes on standard input through a pipe or from a file, without its last line end; "" from elsewhere.

    When nothing comes for a moment, a line says `what` is waited for. A terminal, or the null device of a scheduled job, is
    not read: the command would wait where nobody writes.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError):  # closed, or not a file
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return ""
    timer = threading.Timer(SAID_AFTER, say, [f"waiting for {what}"])
    timer.daemon = True
    timer.start()
    data = sys.stdin.buffer.read()
    timer.cancel()
    text = data.decode(errors="surrogateescape").removeprefix("\ufeff")  # bytes may be continued, as with --prompt
    return re.sub(r"\r?\n\Z", "", text)


class _Printer:
    """Prints the prompt before the first piece, so that an error about the prompt comes alone."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt

    def __call__(self, text: str) -> None:
        print(f"{self.prompt}{text}", end="", flush=True)
        self.prompt = ""
