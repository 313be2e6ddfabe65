"""What a person is told besides results: counts in words, and one line on stderr for what was read, left out or cut."""

import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FEW = 10  # names that fit a line


def say(message: str) -> None:
    """Print one line on stderr, from Python as from the command line, and every time.

    Python's `warnings` would show a count once for each place in the code, though it belongs to the data of each call.
    """
    print(message, file=sys.stderr, flush=True)


def say_share(number: int, total: int, things: str, what: str) -> None:
    """Say what holds for some of all things, such as "3 of 120 texts cut to …"; nothing where it holds for none.

    Inside the block of `Shares.adding` it is added up instead.
    """
    shares = _shares.get()
    if shares is not None:
        shares.add(number, total, things, what)
    elif number:
        say(f"{number:,} of {amount(total, things)} {what}")


class Shares:
    """What `say_share` would say piece by piece of work that is done in pieces, added up to be said once."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, number: int, total: int, things: str, what: str) -> None:
        """Count one piece."""
        before = self._counts.get((things, what), (0, 0))
        self._counts[things, what] = before[0] + number, before[1] + total

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Add up what is said in the block."""
        token = _shares.set(self)
        try:
            yield
        finally:
            _shares.reset(token)

    def say(self) -> None:
        """Say the sums."""
        for (things, what), (number, total) in self._counts.items():
            say_share(number, total, things, what)


_shares: ContextVar[Shares | None] = ContextVar("shares", default=None)


def amount(count: int, things: str) -> str:
    """Return a number with what it counts, which is given in the plural: "1 row", "5,452 rows"."""
    return f"{count:,} {things.removesuffix('s') if count == 1 else things}"


def few(names: Iterable[str], between: str = ", ") -> str:
    """Return the first ten names, and a sign where there are more: "good, bad, …"."""
    names = list(names)
    return between.join([*names[:_FEW], *(["…"] if len(names) > _FEW else [])])


def listed(names: Iterable[object]) -> str:
    """Return names in quotation marks, as many as a person reads in an error, or "none": "'text', 'label'"."""
    return textwrap.shorten(", ".join(map(repr, names)), 200, placeholder=" …") or "none"


def shortened(text: str, most: int = 40) -> str:
    """Return a text on one line, and of a longer one the beginning: "It was a dark and stormy…"."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def in_bytes(count: float) -> str:
    """Return a number of bytes in the unit that suits it: "512 bytes", "98 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
