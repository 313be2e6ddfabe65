"""Lines that begin with # in a column file: comments, or words such as # and #hashtag with their columns."""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from numformer.errors import InputError

# What CoNLL-U and MultiCoNER write before a sentence; nothing else has such a line inside one.
_BEGINS = re.compile(r"# *(newdoc|newpar|sent_id|text|id|global\.columns)( id)? *=|# +(newdoc|newpar|sent_id|id)\b")
_TAG = re.compile("#|O|[BIELSUM]-.+")  # of the word # in the Penn Treebank, and those of entities
_KEY_VALUE = re.compile(r"# +[A-Za-z_][\w.:-]*( \w+)? *=( |$)")


def begins_sentence(line: str) -> bool:
    """Tell whether a comment is one of those that stand before a sentence, such as "# sent_id = 7" or "# newdoc"."""
    return bool(_BEGINS.match(line))


def _is_hashtag(line: str) -> bool:
    return not line[1:2].isspace() and "://" not in line


def is_comment(
    line: str, fields: Sequence[str], width: int, last_values: AbstractSet[str], tabs: bool, begins: bool
) -> bool:
    """Tell whether a line that begins with # is a comment; raises InputError where it may as well be a row.

    `fields` are its columns if it is a row, `width` and `last_values` the number of columns and the values of the last one
    in the other rows; `begins` tells that it stands before a sentence, where comments belong.
    """
    if begins and _KEY_VALUE.match(line):
        return True
    says = begins_sentence(line)
    known_value = width == 1 or fields[-1] in last_values or bool(_TAG.fullmatch(fields[-1]))
    hashtag = _is_hashtag(line) and (("\t" in line and " " not in line) if tabs else not begins and not says)
    fits = len(fields) == width and (known_value or hashtag)
    if fits != says:
        return says
    if fits or len(fields) == width:
        raise InputError(
            f"{line[:40]!r} may be a comment or a word with its columns; take the line out, or begin it with "
            "'# text = ' if it is a comment"
        )
    return begins and (line[1:2].isspace() or len(line) == 1)
