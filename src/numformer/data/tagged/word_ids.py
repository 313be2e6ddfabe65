"""IDs in the first column of a file, which count the words of each sentence: 1, 2, 3 …"""

import re
from collections.abc import Sequence

from numformer.errors import InputError

# A number; 1-2 is a range of words that are written as one, 1.1 a word that is not written (CoNLL-U).
_ID = re.compile(r"([0-9]+)([-.]?)[0-9]*")


def count_words(fields: Sequence[str]) -> bool:
    """Tell whether most of the fields of a column follow one another as IDs do."""
    if 2 * sum("0" <= field[:1] <= "9" for field in fields) <= len(fields):  # most columns are no numbers at all
        return False
    last = hits = 0
    for field in fields:
        try:
            last = follow(field, last)[1]
            hits += 1
        except InputError:
            continue
    return 2 * hits > len(fields)


def follow(field: str, last: int) -> tuple[bool, int]:
    """Return whether an ID begins to count again, at 0 or 1, and the number that was counted last now.

    Raises InputError for a field that does not follow the number that was counted last.
    """
    if field == str(last + 1):
        return False, last + 1
    if match := _ID.fullmatch(field):
        number, kind = int(match[1]), match[2]
        if number == last + (kind != "."):
            return False, last if kind else number
        if number == 0 or (number == 1 and kind != "."):
            return True, number - (kind == "-")
    raise InputError(f"column 1 counts the words of a sentence, got {field!r} after {last}")
