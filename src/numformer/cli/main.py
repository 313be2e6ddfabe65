"""The `numformer` command: finds the subcommand, and turns every error a user can cause into one line and status 2."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from numformer._names import TASK_OF_WORD
from numformer._notices import say
from numformer.errors import InputError
from numformer.tasks import TABLE

COMMANDS = {
    **{f"train {name}": ("train", row.command) for name, row in TABLE.items()},
    "plan": ("plan", "say what memory a training step takes on a mesh of devices"),
    "generate": ("generate", "continue a prompt with a trained model"),
    "chat": ("chat", "talk with a language model that follows instructions"),
    "predict": ("predict", "print what a model says about texts or the rows of a table"),
    "translate": ("predict", "translate texts, a line in, a line out"),
    "embed": ("embed", "write the vectors of texts into a file"),
    "similar": ("similar", "find the texts that are most similar to one"),
    "evaluate": ("evaluate", "measure a model on held-out or given data"),
    "attention": ("attention", "draw which tokens a model looks at"),
    "merge": ("merge", "write adapters and their model as one folder"),
    "info": ("info", "describe a run or a saved model"),
    "convert": ("convert", "write a model as a Hugging Face folder or a GGUF file"),
    "models": ("models", "list the models known by name"),
    "models fetch": ("models", "download one of them"),
    "data list": ("data", "list the texts known by name"),
    "data fetch": ("data", "download one of them"),
    "data clean-pairs": ("data", "clean sentence pairs and split them"),
}
USAGE = "\n".join(
    [
        "usage: numformer COMMAND [options]",
        "",
        *(f"  {name:<17} {text}" for name, (_, text) in COMMANDS.items()),
        "",
        "numformer COMMAND --help lists the options of a command.",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 2 after wrong input, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):
        # Bytes that are not UTF-8 leave as they came.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        try:
            return _dispatch(arguments)
        finally:
            if sys.stdout:  # None where it was closed
                sys.stdout.flush()  # a full disk or a closed pipe shows here, not after the end
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        if error.filename is None:  # it is stdout; what is left in its buffer has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
            return 0
        return _fail(f"{error.filename or 'input/output'}: {error.strerror or error}")
    except MemoryError:
        return _fail("not enough memory: try a smaller batch_size, more accumulation, or --train.recompute")
    except KeyboardInterrupt:
        return 130


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if arguments[0] == "--version":
        from numformer import __version__

        print(f"numformer {__version__}")
        return 0
    for words in (2, 1):
        name = _command(arguments[:words])
        if name in COMMANDS:
            command = importlib.import_module(f"numformer.cli.{COMMANDS[name][0]}")
            return int(command.run(name, arguments[words:]))
    group = [name for name in COMMANDS if name.split()[0] == arguments[0]]
    if group and arguments[1:] in ([], ["--help"], ["-h"]):
        print("\n".join(f"numformer {name}: {COMMANDS[name][1]}" for name in group))
        return 0
    raise InputError(f"unknown command {' '.join(arguments[:2])!r}; the commands are {', '.join(COMMANDS)}")


def _command(words: list[str]) -> str:
    """Return the name of a command; a task may go by any word that is known for it."""
    task = TASK_OF_WORD.get(words[-1].replace("-", "_")) if words[0] == "train" else None
    return " ".join([*words[:-1], task or words[-1]])


def _fail(message: str) -> int:
    say(f"numformer: {' '.join(message.splitlines())}")
    return 2
