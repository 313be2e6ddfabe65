"""What a word is, as regular expressions that mean the same in Python and in the `tokenizers` library.

Scripts that put no spaces between words go character by character, as BERT has it for Chinese (Devlin et al. 2019); here a
character is a letter with the marks that stand on it, such as the vowels and tones of Thai. Numbers stay whole.
"""

import re
import sys
from functools import cache
from typing import NamedTuple
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

# Files of the first version have this pattern, though \w is not the same in Python and in the `tokenizers` library.
FIRST_PATTERN = r"\w+(?:['’]\w+)*|[^\w\s]"

# The scripts without spaces, as first and last character. Korean has spaces, and in Tibetan a mark ends each syllable.
UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x312F),  # signs and numerals of Chinese and Japanese (々, 〇), Hiragana, Katakana (with ー), Bopomofo
    (0x3190, 0x31FF),  # marks of Chinese read in Japan, more Bopomofo and Katakana
    (0x3400, 0x4DBF),  # Chinese characters
    (0x4E00, 0x9FFF),  # Chinese characters
    (0xA9E0, 0xA9FF),  # more Burmese
    (0xAA60, 0xAADF),  # more Burmese, Tai Viet
    (0xF900, 0xFAFF),  # Chinese characters
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x11700, 0x1174F),  # Ahom
    (0x16FE0, 0x1B2FF),  # Tangut, Khitan, Nüshu, old Kana
    (0x20000, 0x3FFFF),  # Chinese characters
)
_HALF_WIDTH_MARKS = slice(0xFF9E, 0xFF9F + 1)  # letters to Unicode, but they stand on the Katakana before them
# Unicode has marks in these places; to ask of every character takes longer.
_PLACES_OF_MARKS = [*range(0x300, 0x1F000), *range(0xE0000, 0xE0200)]


class Characters(NamedTuple):
    """Kinds of characters, each as the ranges of a regular expression's class.

    They are what this Python's release of Unicode calls a letter, number or mark, with the underscore (`word`); a space;
    a mark; a letter of a script without spaces; that or a mark of such a script; and what else is in words (`spaced`).
    """

    word: str
    space: str
    mark: str
    unspaced: str
    unspaced_or_mark: str
    spaced: str


@cache
def character_kinds() -> Characters:
    """Return the kinds of all characters."""
    every = str(np.arange(sys.maxunicode + 1, dtype="<u4").tobytes(), "utf-32-le", "surrogatepass")
    word, number, mark, unspaced = (np.zeros(len(every), bool) for _ in range(4))
    for kind, pattern in ((word, r"\w+"), (number, r"\d+")):
        for match in re.finditer(pattern, every):
            kind[match.start() : match.end()] = True
    mark[[code for code in _PLACES_OF_MARKS if category(chr(code))[0] == "M"]] = True
    mark[_HALF_WIDTH_MARKS] = True
    word |= mark
    for first, last in UNSPACED:
        unspaced[first : last + 1] = True
    unspaced &= word & ~number
    letter = unspaced & ~mark
    space = "".join(re.findall(r"\s", every))
    return Characters(_ranges(word), space, _ranges(mark), _ranges(letter), _ranges(unspaced), _ranges(word & ~letter))


@cache
def word_pattern() -> str:
    """Return what a word is.

    Letters, numbers and the marks upon them, apostrophes inside; or one letter of a script without spaces, with its
    marks; or else one character.
    """
    kinds = character_kinds()
    return f"[{kinds.spaced}]+(?:['’][{kinds.spaced}]+)*|{unspaced_pattern()}|[^{kinds.space}]"


def spaced_word_pattern() -> str:
    """Return what a word was in the first version: the same, with nothing else for scripts without spaces."""
    kinds = character_kinds()
    return f"[{kinds.word}]+(?:['’][{kinds.word}]+)*|[^{kinds.space}]"


def unspaced_pattern() -> str:
    """Return one letter of a script without spaces, with the marks upon it."""
    return f"[{character_kinds().unspaced}][{character_kinds().mark}]*"


def needless_space_pattern() -> str:
    """Return a space between two letters of scripts without spaces."""
    return f"(?<=[{character_kinds().unspaced_or_mark}]) (?=[{character_kinds().unspaced}])"


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text begin and end: between spaces, and each letter of a script without spaces alone."""
    return [match.span() for match in _between_spaces().finditer(text)]


def split_words(text: str) -> list[str]:
    """Return the words of `word_spans`."""
    return [text[start:end] for start, end in word_spans(text)]


@cache
def _between_spaces() -> re.Pattern[str]:
    kinds = character_kinds()
    return re.compile(f"[^{kinds.unspaced}{kinds.space}]+|{unspaced_pattern()}")


def _ranges(which: NDArray[np.bool_]) -> str:
    """Return the characters whose place is True, neighbours as a range."""
    starts, ends = (np.flatnonzero(which & ~np.roll(which, shift)).tolist() for shift in (1, -1))
    return "".join(
        chr(start) if start == end else f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True)
    )
