import re
import sys
from functools import cache
from itertools import accumulate, groupby
from unicodedata import category, name

import pytest

from numformer.tokenizers import WordTokenizer, load_tokenizer
from numformer.tokenizers.word_patterns import UNSPACED, character_kinds, split_words

EVERY = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]


UNSPACED_NAMES = (
    *("CJK UNIFIED", "CJK COMPATIBILITY", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO", "IDEOGRAPHIC"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TAI", "NEW TAI", "AHOM"),
)


def is_mark(character):
    return category(character)[0] == "M" or character in "\uff9e\uff9f"


def is_word(character):
    return character.isalnum() or character == "_" or is_mark(character)


def is_unspaced(character):
    """Tell from the names of Unicode whether a character is a letter of a script without spaces."""
    letter = character.isalnum() and not character.isdecimal() and not is_mark(character)
    return letter and name(character, "").startswith(UNSPACED_NAMES) and "TALLY" not in name(character)


KINDS = {"word": is_word, "space": str.isspace, "mark": is_mark}


@cache
def spans_of_runs(kind):
    """Return the spans of neighbours of one kind among all characters."""
    runs = [(each, len(list(group))) for each, group in groupby(map(KINDS[kind], EVERY))]
    ends = list(accumulate(length for _, length in runs))
    return [(end - length, end) for (each, length), end in zip(runs, ends, strict=True) if each]


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_is_of_the_same_kind_here_and_in_the_tokenizers_library(kind):
    library = pytest.importorskip("tokenizers")
    run, text, expected = f"[{getattr(character_kinds(), kind)}]+", "".join(EVERY), spans_of_runs(kind)
    assert [match.span() for match in re.finditer(run, text)] == expected
    split = library.pre_tokenizers.Split(library.Regex(run), "removed", invert=True)
    assert [span for _, span in split.pre_tokenize_str(text)] == expected


def test_the_table_holds_the_letters_of_the_scripts_without_spaces():
    found = set(re.findall(f"[{character_kinds().unspaced}]", "".join(EVERY)))
    assert {character for character in EVERY if is_unspaced(character)} <= found
    others = {name(character, "TANGUT IDEOGRAPH").split()[0] for character in found if not is_unspaced(character)}
    assert others == {"TANGUT", "KHITAN", "NUSHU", "HENTAIGANA", "HANGZHOU", "VERTICAL", "MASU", "OLD"}


def test_every_character_of_a_word_begins_one_kind_of_word_alone():
    kinds = character_kinds()
    spaced, unspaced, both = (
        set(re.findall(f"[{which}]", "".join(EVERY))) for which in (kinds.spaced, kinds.unspaced, kinds.word)
    )
    assert spaced.isdisjoint(unspaced)
    assert spaced | unspaced == both


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop, 3.5!", ["don't", "stop,", "3.5!"]),
        (" 我爱Python编程。ตัว ", ["我", "爱", "Python", "编", "程", "。", "ตั", "ว"]),
        ("한국어 좋아", ["한국어", "좋아"]),
        ("", []),
    ],
)
def test_a_text_is_split_at_its_spaces_and_into_letters_where_a_script_has_none(text, expected):
    assert split_words(text) == expected


def ends_of_the_table():
    return {EVERY.index(chr(code + offset)) for span in UNSPACED for code in span for offset in (-1, 0, 1)}


def test_a_saved_tokenizer_splits_at_the_same_characters_in_the_tokenizers_library(tmp_path):
    """All characters whose kind is not that of the one before or after, each between two letters."""
    library = pytest.importorskip("tokenizers")
    ours = WordTokenizer(["a", "b"])
    ours.save(tmp_path)
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    places = {place + offset for kind in KINDS for span in spans_of_runs(kind) for place in span for offset in (-1, 0)}
    text = (
        " ".join(f"a{EVERY[place]}b" for place in sorted(places | ends_of_the_table()) if 0 <= place < len(EVERY))
        + " ① x² a᪰b ‿ 葛\U000e0100"
    )
    assert [span for _, span in theirs.pre_tokenizer.pre_tokenize_str(text)] == [(a, b) for _, a, b in ours.words(text)]
    assert theirs.encode(text).ids == ours.encode(text).tolist()
    assert load_tokenizer(tmp_path).words(text) == ours.words(text)
