"""`numformer predict` and `numformer translate`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from numformer.cli.options import check_owners, parse, warn
from numformer.data.lines import check_text, json_field, read_json_lines, read_lines
from numformer.errors import InputError
from numformer.generation import BeamConfig
from numformer.tasks import LanguageModel, MaskedLanguageModel, QuestionAnswerer, Translator, load_task

OWNERS: dict[str, type] = {
    **dict.fromkeys(("num_beams", "length_penalty", "max_new_tokens", "num_return"), Translator),
    "top_k": MaskedLanguageModel,
    "context": QuestionAnswerer,
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Where the texts come from: arguments, a file, or standard input."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, of its best/, or of a saved model."""
    texts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = ()
    """Texts; without any, the lines of --input or of standard input."""
    input: Path | None = None
    """File with a text on every line; for question answering JSONL with the keys question and context."""
    encoding: str = "utf-8"
    """Encoding of that file, or of a file with the context."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to search for a target; for seq2seq and summarise."""

    num_beams: int = 4
    """Width of the beam; 1 takes the likeliest token at every step."""
    length_penalty: float = 1.0
    """Power of the length that a log-probability is divided by: 0 favours short targets, larger values longer ones."""
    max_new_tokens: int | None = None
    """Most tokens of a target; twice the source's length and ten more when not given."""


@dataclass(frozen=True, kw_only=True)
class Predict(Inputs, Search):
    """Print what a model says about each text, one JSON object a line, with scores."""

    num_return: int = 1
    """seq2seq, summarise: number of targets, best first."""
    top_k: int = 5
    """mlm: number of tokens for each [MASK]."""
    context: str | None = None
    """qa: the text to find the answers in, or a file that holds it."""


@dataclass(frozen=True, kw_only=True)
class Translate(Inputs, Search):
    """Print the translation of each text: a line in, a line out."""


def run(command: str, arguments: list[str]) -> int:
    """Predict and print."""
    options: Any = parse(Translate if command == "translate" else Predict, command, arguments)
    task = load_task(options.run)
    if command == "translate" and not isinstance(task, Translator):
        raise InputError(f"translate needs a seq2seq model; the task of {options.run} is {task.name}")
    check_owners(options, OWNERS, task)
    for result in _results(task, options):
        print(_line(result) if command == "translate" else json.dumps(result, ensure_ascii=False))
    return 0


def _results(task: Any, options: Any) -> list[dict[str, Any]]:
    if isinstance(task, LanguageModel):
        raise InputError(f"{options.run} holds a language model: use numformer generate")
    if isinstance(task, QuestionAnswerer):
        return task.predict(_questions(options), progress=True)
    texts = _texts(options)
    if isinstance(task, MaskedLanguageModel):
        return task.predict(texts, top_k=options.top_k, progress=True)
    if not isinstance(task, Translator):
        return task.predict(texts, progress=True)
    beam = BeamConfig(
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
        num_return=getattr(options, "num_return", 1),
    )
    return task.predict(texts, beam=beam, max_new_tokens=options.max_new_tokens, progress=True)


def _texts(options: Any) -> list[str]:
    if options.texts and options.input:
        raise InputError("give texts as arguments or with --input, not both")
    if options.texts:
        return list(options.texts)
    if options.input:
        return list(read_lines(options.input, options.encoding))
    if sys.stdin and sys.stdin.isatty():
        warn("reading lines from the terminal; end with Ctrl-D")
    data = sys.stdin.buffer.read() if sys.stdin else b""  # None where it was closed
    try:
        lines = data.decode().removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise InputError(f"standard input is not UTF-8 text: {byte}") from None
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def _questions(options: Any) -> list[tuple[str, str]]:
    if options.context is None:
        if options.texts or not options.input:
            raise InputError("questions need the text to find the answers in: --context TEXT, or --input FILE.jsonl")
        lines = read_json_lines(options.input, options.encoding)
        return [(_text(row, "question", where), _text(row, "context", where)) for where, row in lines]
    is_file = _is_file(options.context)
    context = "\n".join(read_lines(options.context, options.encoding)) if is_file else options.context
    return [(question, context) for question in _texts(options)]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a text that is too long for a name
        return False


def _text(row: dict[str, Any], key: str, where: str) -> str:
    return check_text(json_field(row, key, where), key, where)


def _line(result: dict[str, Any]) -> str:
    """Return a target on one line, so that line N of the output belongs to line N of the input; a blank one stays blank."""
    return " ".join(result["target"].splitlines()) if result["source"].strip() else ""
