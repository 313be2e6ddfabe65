"""What a person is told besides results: counts in words, and one line on stderr for what was read, left out or cut."""

import sys


def say(message: str) -> None:
    """Print one line on stderr, from Python as from the command line, and every time.

    Python's `warnings` would show a count once for each place in the code, though it belongs to the data of each call.
    """
    print(message, file=sys.stderr, flush=True)


def amount(count: int, things: str) -> str:
    """Return a number with what it counts, which is given in the plural: "1 row", "5,452 rows"."""
    return f"{count:,} {things.removesuffix('s') if count == 1 else things}"


def shortened(text: str, most: int = 40) -> str:
    """Return a text on one line, and of a longer one the beginning: "It was a dark and stormy…"."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"
