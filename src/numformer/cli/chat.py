"""`numformer chat`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from numformer._files import write_atomically
from numformer._notices import amount, say
from numformer.cli.generate import piped_text
from numformer.cli.shared.options import parse
from numformer.errors import InputError
from numformer.generation import SamplingConfig
from numformer.tasks.chat import Answer, Chat

CUT = {"length": "cut by --max-new-tokens", "context": "cut: the context is full"}
HELP = """\
/system TEXT  what the model is told before all else; /system alone takes it away
/regen        another answer to the last question
/reset        a new conversation
/save FILE    write the conversation to FILE, a line of JSON that a model can be trained on
/exit         the end, as Ctrl-D; Ctrl-C stops an answer"""


@dataclass(frozen=True, kw_only=True)
class Options(SamplingConfig):
    """Talk with a language model in a terminal, or answer one question that is given or comes through a pipe."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A GGUF file, a run, or a folder of a model that has a chat template."""
    last: bool = False
    """Take the weights of a run's last step, not those that did best on its held-out data."""
    prompt: str | None = None
    """One question: it is answered, and the command ends."""
    system: str | None = None
    """What the model is told before all else."""
    max_new_tokens: int = 1000
    """Most tokens of an answer."""
    seed: int = 0
    """Another seed gives other answers; the same seed the same."""
    backend: Literal["numpy", "jax"] = "numpy"
    """What runs the model: jax compiles it, which takes seconds before the first token, and uses an accelerator."""
    temperature: float = 0.2
    """Divides the logits: below 1 safer, above 1 more varied; 0 always takes the most probable token."""
    top_p: float = 0.9
    """Sample among the fewest tokens that together have at least this probability (1: off)."""


def run(command: str, arguments: list[str]) -> int:
    """Answer one question, or talk until the end of the input."""
    options = parse(Options, command, arguments)
    question = options.prompt
    if question is None and not (sys.stdin and sys.stdin.isatty()):
        question = piped_text("a question on standard input")
        if not question.strip():
            raise InputError("no question came on standard input; give one with --prompt, or talk in a terminal")
    chat = Chat.load(
        options.model,
        last=options.last,
        system=options.system,
        sampling=SamplingConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(SamplingConfig)}),
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
        backend=options.backend,
    )
    if question is None:
        _talk(chat, str(options.model))
    else:
        _print_answer(chat, lambda on_text: chat.say(question, on_text))
    return 0


def _talk(chat: Chat, name: str) -> None:
    """Read questions and commands line by line, and answer them."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # input() has arrows and a history then
    print(f"{name}: ask away; /help lists the commands, Ctrl-D ends.")
    while True:
        try:
            line = input("> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("\nCtrl-D ends")
            continue
        if line.strip() == "/exit":
            return
        try:
            _do(chat, line)
        except KeyboardInterrupt:
            print("\n[stopped]", flush=True)
        except InputError as error:
            say(" ".join(str(error).splitlines()))


def _do(chat: Chat, line: str) -> None:
    """Do what a line says."""
    command, _, rest = line.partition(" ")
    if not command.startswith("/"):
        if line.strip():
            _print_answer(chat, lambda on_text: chat.say(line, on_text))
    elif command == "/system":
        chat.set_system(rest.strip())
    elif command == "/regen":
        _print_answer(chat, chat.say_again)
    elif command == "/reset":
        chat.reset()
    elif command == "/save":
        _save(chat, rest.strip())
    elif command == "/help":
        print(HELP)
    else:
        raise InputError(f"there is no command {command}: /help lists them; a question may begin with a space")


def _save(chat: Chat, name: str) -> None:
    if not name:
        raise InputError("/save needs the name of a file")
    if Path(name).exists():
        raise InputError(f"{name} exists already: choose another name")
    write_atomically(name, json.dumps({"messages": chat.messages}, ensure_ascii=False) + "\n")
    print(f"{amount(len(chat.messages), 'messages')} written to {name}")


def _print_answer(chat: Chat, answer: Callable[[Callable[[str], None]], str]) -> None:
    """Print an answer as it comes, and on stderr how it was made."""
    answer(lambda text: print(text, end="", flush=True))
    print(flush=True)
    assert chat.last is not None
    say(f"[{_describe(chat.last)}]")


def _describe(answer: Answer) -> str:
    """Return the speed of an answer, and why it ended where it was cut."""
    written = f"{amount(answer.num_written, 'tokens')} written"
    if answer.num_written > 1:  # the first one comes with the reading
        written += f", {(answer.num_written - 1) / answer.write_seconds:.1f} tokens/s"
    cut = f", {CUT[answer.ended]}" if answer.ended in CUT else ""
    return f"{amount(answer.num_read, 'tokens')} read in {answer.read_seconds:.1f} s, {written}{cut}"
