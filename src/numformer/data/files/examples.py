"""What a reader of files returns: the examples, and how many rows were left out of them, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from numformer._notices import amount
from numformer.errors import InputError

Example = TypeVar("Example")
Given = TypeVar("Given")
MALFORMED = "malformed"


class LeftOut(Exception):  # noqa: N818 (nothing is wrong: such a row is counted, and reading goes on)
    """Says why a row is left out, such as "blank label"; reading goes on with the next one."""


class Examples(list[Example]):
    """The examples of a file, a list that also knows what there was: `rows` is its length and all that was left out.

    `unit` is what is counted, and `places` say where each example stands, such as "line 7"; `left_out` counts by reason,
    and `first` says where each reason was met first. `notes` say what was understood besides, such as a delimiter other
    than the usual one.
    """

    def __init__(self, examples: Iterable[Example] = (), unit: str = "rows") -> None:
        super().__init__(examples)
        self.unit = unit
        self.left_out: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.notes: list[str] = []
        self.places: list[str] = []

    @property
    def rows(self) -> int:
        """How many rows there were."""
        return len(self) + self.left_out.total()

    def leave_out(self, reason: str, where: str) -> None:
        """Count a row that is no example."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, where)

    def leave_out_those(self, is_unwanted: Callable[[Example], bool], reason: str) -> None:
        """Leave out the examples of a kind, and count them."""
        kept = [(example, place) for example, place in zip(self, self.places, strict=True) if not is_unwanted(example)]
        for example, place in zip(self, self.places, strict=True):
            if is_unwanted(example):
                self.leave_out(reason, place)
        self[:], self.places = [example for example, _ in kept], [place for _, place in kept]

    def report(self) -> str:
        """Return what was read in a few words: "120 rows; 3 left out (2 blank label, first at line 7; 1 malformed, …)"."""
        parts = [amount(self.rows, self.unit), *self.notes]
        if self.left_out:
            reasons = "; ".join(
                f"{count:,} {reason}, first at {_place(self.first[reason])}" for reason, count in self.left_out.items()
            )
            parts.append(f"{self.left_out.total():,} left out ({reasons})")
        return "; ".join(parts)


def collect(
    rows: Iterable[tuple[str, Given | InputError]],
    parse: Callable[[str, Given], Example],
    *,
    unit: str = "rows",
    skip_bad: bool = False,
) -> Examples[Example]:
    """Make an example of every row, which comes with where it stands, or as the error of one that cannot be read.

    A row for which `parse` raises LeftOut is counted and left out; so is one that is malformed, with `skip_bad`. Without it
    the first malformed row raises its InputError.
    """
    found: Examples[Example] = Examples(unit=unit)
    for where, row in rows:
        try:
            if isinstance(row, InputError):
                raise row
            found.append(parse(where, row))
            found.places.append(_place(where))
        except LeftOut as reason:
            found.leave_out(str(reason), where)
        except InputError as error:
            if not skip_bad:
                raise InputError(f"{error} (--skip-bad leaves such {unit} out)") from None
            found.leave_out(MALFORMED, where if unit == "questions" else str(error).partition(": ")[0])
    return found


def _place(where: str) -> str:
    """Return the last part of a place, such as "line 7", without the file that the report is about."""
    return where.rpartition(", ")[2]
