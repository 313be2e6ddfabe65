"""Jinja templates that come with models from anywhere: the programs of strangers, run so that they end and see nothing.

They run in Jinja's sandbox, and besides within a time and a memory. A line of Python that such a program makes run is
traced, so that an endless loop is cut off wherever it is; what a single line could make is bounded by the memory that the
process may ask for, where the system can say it. Not bounded is the time of one comparison, as of two lists that hold
themselves many times over.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from jinja2 import Environment, Template, nodes, pass_environment
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from numformer.errors import InputError

SECONDS = 2.0  # of the processor; a template of a real model takes a thousandth of them
MEMORY = 256 << 20  # bytes besides those in use
LONGEST = 2_000_000  # characters that a template may add to what it is given
MOST = 1 << 20  # characters or items that one multiplication makes
LARGEST = 1 << 64  # of the numbers that are multiplied
LARGEST_POWER = 64

_PAGES = Path("/proc/self/statm")  # of Linux: how many the process has
_one_at_a_time = threading.Lock()  # the bound of the memory is that of the process


def compile_template(source: str) -> Template:
    """Return a chat template with the settings and the helpers that Transformers gives it.

    Raises InputError as `render` does.
    """
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock])
    environment.filters |= {"tojson": _tojson, "sum": _sum}
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    with _in_sentences(), _bounded():
        return environment.from_string(source)


def render(template: Template, names: dict[str, Any]) -> str:
    """Return the text that a template makes of these names.

    Raises InputError when it fails or says no, and when it reaches for what the sandbox hides or takes more than its time,
    memory or text.
    """
    pieces, room = [], LONGEST + 2 * len(json.dumps(names))
    with _in_sentences(), _bounded():
        for piece in template.generate(names):
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise SecurityError(f"it writes more than {LONGEST:,} characters of its own")
        return "".join(pieces)


@contextmanager
def _in_sentences() -> Iterator[None]:
    try:
        yield
    except _TooLong:
        raise InputError(f"the chat template is refused: it runs for more than {SECONDS:g} seconds") from None
    except MemoryError:
        raise InputError(f"the chat template is refused: it takes more than {MEMORY >> 20} MB of memory") from None
    except (SecurityError, OverflowError) as error:
        raise InputError(f"the chat template is refused: {_line(error)}") from None
    except TemplateSyntaxError as error:
        raise InputError(f"line {error.lineno} of the chat template cannot be read: {_line(error)}") from None
    except _SaysNoError as error:
        raise InputError(f"the chat template says: {_line(error)}") from None
    except Exception as error:  # A template runs Python code, which may raise anything.
        raise InputError(f"the chat template fails: {_line(error) or type(error).__name__}") from None


class _TooLong(BaseException):
    """The time is over; no `except Exception` on the way catches it."""


class _SaysNoError(TemplateError):
    """A template has called raise_exception."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which refuses at once what it would make undefined, and products without end."""

    intercepted_binops = frozenset({"*", "**", "/", "//", "%"})

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Refuse an attribute that leads out of the sandbox."""
        raise SecurityError(f"it reaches for {attribute!r} of a {type(obj).__name__}")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute a product, a power, a quotient or a formatted text, unless it would be huge."""
        if _is_huge(operator, left, right):
            raise SecurityError("it computes with huge numbers or texts")
        return super().call_binop(context, operator, left, right)


def _is_huge(operator: str, left: Any, right: Any) -> bool:
    numbers = [abs(each) for each in (left, right) if isinstance(each, (int, float))]
    lengths = [len(each) for each in (left, right) if hasattr(each, "__len__")]
    if any(number > LARGEST for number in numbers):
        return True
    if operator == "**":
        return len(numbers) == 2 and numbers[1] > LARGEST_POWER
    return operator == "*" and bool(numbers and lengths) and numbers[0] * lengths[0] > MOST


class _GenerationBlock(Extension):
    """{% generation %} ... {% endgeneration %}, which marks what the model is to say: what is inside is written."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what is inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(value: Any, ensure_ascii: bool = False, **settings: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **settings)


@pass_environment
def _sum(environment: Environment, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    """Add up as Jinja does, but in steps that are traced: one call that joins a million lists takes hours."""
    get = make_attrgetter(environment, attribute)
    for each in iterable:
        start = start + get(each)
    return start


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _raise_exception(message: str) -> NoReturn:
    raise _SaysNoError(message)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def _bounded() -> Iterator[None]:
    """Bound the time and the memory of what this thread does in the block."""
    end = time.thread_time() + SECONDS

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if time.thread_time() > end:
            raise _TooLong
        return trace

    with _one_at_a_time, _bounded_memory():
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(before)


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let the process ask for `MEMORY` more than it has, where the system says how much that is."""
    try:
        import resource

        limit = int(_PAGES.read_text().split()[0]) * resource.getpagesize() + MEMORY
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (min([limit, *(each for each in (soft, hard) if each >= 0)]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
