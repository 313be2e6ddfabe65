"""Which columns of a column file hold the words and the tags: those that are named, or those that can be no others."""

from collections.abc import Callable

from numformer._notices import amount
from numformer.data.files.rows import wrong_columns
from numformer.data.tagged.column_files import CONLLU, WORD_NAMES, ColumnFile
from numformer.data.tagged.tag_schemes import mark_entities
from numformer.errors import InputError

AUTO = "auto"
FILLERS = {"_", "-"}  # what stands in a column that says nothing


def word_column_of(file: ColumnFile, chosen: str | int, other: str | int = AUTO) -> int:
    """Return the number, from 0, of the column of words; `other` is the column that is chosen for the tags.

    Raises InputError for a column that is not there, and where the first column is one of tags and the words may be in
    several.
    """
    if str(chosen) != AUTO:
        return _number(file, chosen)
    named = [number for number, name in enumerate(file.names) if name in WORD_NAMES]
    if named or file.has_ids:
        return named[0] if named else 1
    tags_first = mark_entities(file.values(0)) if str(other) == AUTO else _number(file, other) == 0
    if not tags_first or file.width == 1 or (file.width == 2 and mark_entities(file.values(1))):
        return 0
    if file.width == 2:
        return 1
    raise InputError(f"column 1 of {file.path} holds tags; say which one holds the words with --word-column")


def tag_column(file: ColumnFile, chosen: str | int, word: int) -> tuple[int, Callable[[str], str]]:
    """Return the number, from 0, of the column of tags, and what makes a tag of its fields.

    Raises InputError for a column that is not there, and where none or several may be meant.
    """
    if str(chosen) == "ner" and file.names == CONLLU:
        if not any(_ner(field) for field in file.values(9)):
            raise InputError(f"no word of {file.path} has NER= in its last column")
        return 9, lambda field: _ner(field) or "O"
    number = _likely_tags(file, word) if str(chosen) == AUTO else _number(file, chosen)
    if number == word:
        raise InputError(f"the words and the tags of {file.path} cannot both be {called(file, word)}")
    return number, str


def called(file: ColumnFile, number: int) -> str:
    """Return what to call a column, such as "column 4 (upos)"."""
    return f"column {number + 1}" + (f" ({file.names[number]})" if file.names else "")


def _number(file: ColumnFile, chosen: str | int) -> int:
    name = str(chosen).lower()
    if name in file.names:
        return file.names.index(name)
    if name.isdecimal() and 1 <= int(name) <= file.width:
        return int(name) - 1
    named = f"called {', '.join(file.names)}" if file.names else "which have no names"
    raise InputError(
        f"{file.path} has no column {chosen!r}: give the number of one of its {amount(file.width, 'columns')}, {named}"
    )


def _likely_tags(file: ColumnFile, word: int) -> int:
    """Return the column that can be no other: without IDs the last one, with IDs the only one that marks entities."""
    if file.names == CONLLU:
        return CONLLU.index("upos")
    if file.width == 1:
        raise wrong_columns(1, "a word and its tag with a TAB or a space between", file.sentences[0][0])
    others = [number for number in range(file.width) if number != word and not (file.has_ids and number == 0)]
    values = {number: file.values(number) for number in others}
    if not file.has_ids and not values[others[-1]] <= FILLERS:
        return others[-1]
    filled = [number for number in others if not values[number] <= FILLERS]
    found = filled if len(filled) == 1 else [n for n in filled if values[n] <= {"O"} or mark_entities(values[n])]
    if not found and "upos" in file.names:
        return file.names.index("upos")
    if len(found) == 1:
        return found[0]
    columns = " and ".join(called(file, number) for number in found)
    what = f"tags of entities in {columns}" if found else "no column that is certain to hold tags"
    raise InputError(f"{file.path} has {what}; choose one with --column")


def _ner(field: str) -> str:
    return next((pair.removeprefix("NER=") for pair in field.split("|") if pair.startswith("NER=")), "")
