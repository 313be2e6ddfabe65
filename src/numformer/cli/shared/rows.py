"""Inputs of a prediction with what stands beside them, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numformer._notices import amount, say
from numformer.data.files.examples import LeftOut
from numformer.data.tables.reader import Fields
from numformer.errors import InputError


class InputRow(NamedTuple):
    """What the output says again of an input, and what is predicted from: None where it is blank."""

    cells: Mapping[str, object]
    given: Any


@dataclass
class Inputs:
    """The rows to predict from, to be iterated over once, and the names of their columns.

    `repeated` are the fields of a prediction that the rows have already; `paused` tells whether the next row may be long
    in coming.
    """

    names: list[str]
    repeated: tuple[str, ...]
    rows: Iterable[InputRow]
    paused: Callable[[], bool] = lambda: False


def make_rows(
    rows: Iterable[tuple[str, Fields | InputError]],
    given: Callable[[Fields, str], Any],
    options: Any,
    notes: Sequence[str] = (),
) -> Iterator[InputRow]:
    """Yield rows, each with what is `given` to the model; it raises LeftOut for a blank one, which keeps its place.

    The first malformed row is an error, or all are left out and counted with --skip-bad. The count and the `notes`, which
    may grow with the rows, are said after the last one.
    """
    count = malformed = 0
    for where, cells in rows:
        count += 1
        try:
            if isinstance(cells, InputError):
                raise cells
            row = InputRow(cells, given(cells, where))
        except LeftOut:
            assert not isinstance(cells, InputError)
            row = InputRow(cells, None)
        except InputError as error:
            if not options.skip_bad:
                raise InputError(f"{error} (--skip-bad leaves such rows out)") from None
            malformed += 1
            continue
        yield row
    if notes or malformed:
        left_out = [f"{malformed:,} left out (malformed)"] if malformed else []
        say(f"{options.input}: {'; '.join([amount(count, 'rows'), *notes, *left_out])}")
