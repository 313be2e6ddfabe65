import gzip
import json
import os
import re
import unicodedata
from itertools import chain, islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numformer.data import clean_pairs, read_pairs
from numformer.data.pairs.cleaning import REASONS, PairFilters, clean_file, normalise, read_rows
from numformer.data.pairs.splitting import split_pairs, write_parts
from numformer.errors import InputError


def dropped_as(*rows, **settings):
    """Return the reasons for which rows are dropped."""
    cleaned = clean_pairs(rows, PairFilters(**settings))
    assert cleaned.rows == len(rows)
    assert sum(cleaned.dropped.values()) + len(cleaned.pairs) == len(rows)
    return {reason: count for reason, count in cleaned.dropped.items() if count}


# Normalisation.


@pytest.mark.parametrize("space", ["\u202f", "\xa0", "\u2009", "\u3000", "\t", "\n", "\r", "\u2028", "\x85", " \xa0 "])
def test_every_kind_of_space_becomes_one_ordinary_one(space):
    assert normalise(f"{space}Cours{space}!{space}") == "Cours !"


@pytest.mark.parametrize("invisible", ["\x00", "\x07", "\x1b", "\x7f", "\x9f", "\u200b", "\ufeff", "\xad"])
def test_invisible_characters_are_removed(invisible):
    assert normalise(f"{invisible}Co{invisible}urs !") == "Cours !"


def test_letters_that_need_a_joiner_keep_it():
    assert normalise("می‌خواهم") == "می‌خواهم"


def test_accents_are_composed_and_ligatures_only_on_request():
    assert normalise("e\u0301te\u0301 \ufb01n") == "été \ufb01n"
    assert normalise("e\u0301te\u0301 \ufb01n", "NFKC") == "été fin"


@given(st.text(), st.sampled_from(["NFC", "NFKC"]))
def test_normal_text_is_one_clean_line_and_stays_as_it_is(text, form):
    clean = normalise(text, form)
    assert not re.search(r"[\t\n\r]|  |^ | $", clean)
    assert len(clean.splitlines()) <= 1
    assert unicodedata.is_normalized(form, clean)
    assert normalise(clean, form) == clean


# Filters.


def test_pairs_are_kept_in_order_and_normalised():
    cleaned = clean_pairs([("Go. ", "Va\u202f!"), ("Run!", "Cours !")])
    assert cleaned.pairs == [("Go.", "Va !"), ("Run!", "Cours !")]
    assert cleaned.dropped == dict.fromkeys(REASONS, 0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("caf\udce9", "coffee"), "not_utf8"),
        (("Go.",), "ragged"),
        ((), "ragged"),
        (("Go.", "\xa0\u200b"), "empty"),
        (("", "Va !"), "empty"),
        (("Tom", "Tom "), "identical"),
        (("x" * 301, "y" * 200), "too_long"),
        (("x" * 200, "y" * 301), "too_long"),
        (("x" * 10, "y" * 51), "length_ratio"),
        (("x" * 51, "y" * 10), "length_ratio"),
    ],
)
def test_a_row_is_dropped_for_its_reason(row, reason):
    assert dropped_as(row) == {reason: 1}


@pytest.mark.parametrize("row", [("x" * 300, "y" * 300), ("x" * 10, "y" * 50), ("A.", "B" * 26), ("a", "b", "more")])
def test_a_row_at_a_limit_is_kept(row):
    assert dropped_as(row) == {}


@pytest.mark.parametrize(
    ("row", "dropped"),
    [
        (("x" * 140, "字" * 20), {}),  # 150 to 50 columns, a ratio of 3
        (("x" * 141, "字" * 20), {"length_ratio": 1}),
        (("한" * 20, "x" * 140), {}),
        (("x" * 141, "ｶ" * 40), {"length_ratio": 1}),  # half-width Katakana are no wider than letters
        (("字" * 151, "x" * 300), {}),  # the other limits are in characters
    ],
)
def test_wide_characters_count_twice_when_lengths_are_compared(row, dropped):
    assert dropped_as(row) == dropped


def test_limits_can_be_set():
    assert dropped_as(("abc", "abcd"), min_chars=4) == {"too_short": 1}
    assert dropped_as(("abc", "abcd"), min_chars=3, max_chars=4) == {}
    assert dropped_as(("abc", "abcd"), max_chars=3) == {"too_long": 1}
    assert dropped_as(("abc", "abcd"), max_ratio=1.0) == {"length_ratio": 1}
    assert dropped_as(("Tom", "Tom"), keep_identical=True) == {}


def test_a_repeated_pair_is_kept_once_where_it_came_first():
    rows = [("Go.", "Va !"), ("Hi.", "Salut !"), ("Go.", "Va\xa0!"), ("Go.", "Allez !")]
    assert clean_pairs(rows).pairs == [("Go.", "Va !"), ("Hi.", "Salut !"), ("Go.", "Allez !")]
    assert dropped_as(*rows) == {"duplicate": 1}


TATOEBA = [
    ("1", "eng", "Run!", "2", "fra", "Cours !"),
    ("1", "eng", "Run!", "3", "deu", "Lauf!"),
    ("2", "fra", "Cours !", "1", "eng", "Run!"),
]


def test_columns_and_languages_are_chosen():
    columns = {"source_column": 6, "target_column": 3}
    assert len(clean_pairs(TATOEBA, PairFilters(**columns)).pairs) == 3
    languages = {"source_language": "fra", "source_language_column": 5}
    assert clean_pairs(TATOEBA, PairFilters(**columns, **languages)).pairs == [("Cours !", "Run!")]
    assert dropped_as(*TATOEBA, **columns, **languages) == {"other_language": 2}
    languages |= {"target_language": "deu", "target_language_column": 2}
    assert dropped_as(*TATOEBA, **columns, **languages) == {"other_language": 3}


def test_a_row_without_its_language_column_is_ragged():
    assert dropped_as(("Go.", "Va !"), source_language="eng", source_language_column=3) == {"ragged": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source_column": 0}, "columns are counted from 1, got source_column=0"),
        ({"target_language": "fra", "target_language_column": -1}, "got target_language_column=-1"),
        ({"source_column": 2}, "must be two columns, got 2 for both"),
        ({"source_language": "eng"}, "source_language and source_language_column go together"),
        ({"target_language_column": 3}, "target_language and target_language_column go together"),
        ({"min_chars": 0}, "expected 1 <= min_chars <= max_chars, got min_chars=0 and max_chars=300"),
        ({"max_chars": 4, "min_chars": 5}, "got min_chars=5 and max_chars=4"),
        ({"max_ratio": 0.5}, "max_ratio must be at least 1, got 0.5"),
        ({"max_ratio": float("nan")}, "got nan"),
        ({"unicode_form": "NFD"}, "unicode_form must be NFC or NFKC, got 'NFD'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        PairFilters(**settings)


# Files.


def test_rows_end_at_line_ends_only(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_bytes("a\tb\x85c\r\n\nd\u2028\re\tf\r\ng\txé".encode() + b"\xe9")
    read = []
    assert list(read_rows(file, read.append)) == [["a", "b\x85c"], ["d\u2028\re", "f"], ["g", "xé\udce9"]]
    assert sum(read) == file.stat().st_size


def test_returns_end_rows_where_the_file_has_no_line_feed(tmp_path):
    (tmp_path / "pairs.tsv").write_bytes(b"a\tb\rc\td\r")
    assert list(read_rows(tmp_path / "pairs.tsv")) == [["a", "b"], ["c", "d"]]


def test_quoted_fields_are_read_by_the_rule_of_tsv(tmp_path):
    (tmp_path / "pairs.tsv").write_text('"a ""b"""\t"c"\n"Hello\tBonjour"\n')
    assert list(read_rows(tmp_path / "pairs.tsv")) == [['a "b"', "c"], ['"Hello', 'Bonjour"']]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_other_encodings_and_compressed_files_are_read(encoding, suffix, tmp_path):
    file, data = tmp_path / f"pairs.tsv{suffix}", "thé\tété\n".encode(encoding)
    file.write_bytes(gzip.compress(data) if suffix else data)
    assert clean_file(file, PairFilters(), encoding=encoding).pairs == [("thé", "été")]


def test_a_file_of_empty_lines_is_refused(tmp_path):
    (tmp_path / "pairs.tsv").write_text("\n \n\n")
    with pytest.raises(InputError, match="holds no rows"):
        clean_file(tmp_path / "pairs.tsv", PairFilters())


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("\ufeffeng\tGo.\tVa !\n", encoding="utf-8")
    filters = PairFilters(source_column=2, target_column=3, source_language="eng", source_language_column=1)
    assert clean_file(file, filters).pairs == [("Go.", "Va !")]


# Parts.


def pairs_of(*sizes):
    """Return pairs in groups of these sizes, each group with one source."""
    return [(f"source {group}", f"target {group}.{i}.") for group, size in enumerate(sizes) for i in range(size)]


def test_parts_have_their_sizes_and_the_original_order():
    pairs = pairs_of(*[1] * 100)
    parts = split_pairs(pairs, valid_size=20, test_size=10)
    assert {part: len(held) for part, held in parts.items()} == {"train": 70, "valid": 20, "test": 10}
    assert list(parts) == ["train", "valid", "test"]
    for held in parts.values():
        assert held == sorted(held, key=pairs.index)
    assert sorted(chain(*parts.values())) == sorted(pairs)


def test_no_source_is_in_two_parts():
    parts = split_pairs(pairs_of(*[1, 2, 3, 4, 5] * 20), valid_size=50, test_size=50)
    sources = [{source for source, _ in held} for held in parts.values()]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 100
    assert [len(parts["valid"]), len(parts["test"])] == [50, 50]


@pytest.mark.parametrize("seed", range(5))
def test_a_giant_group_leaves_the_held_out_sizes_as_they_are(seed):
    parts = split_pairs(pairs_of(900, *[1] * 100), valid_size=50, test_size=40, seed=seed)
    assert [len(parts["valid"]), len(parts["test"])] == [50, 40]
    assert sum(source == "source 0" for source, _ in parts["train"]) == 900


def test_the_parts_follow_from_the_seed():
    pairs = pairs_of(*[1, 2] * 50)
    assert split_pairs(pairs, 20, 20, seed=1) == split_pairs(pairs, 20, 20, seed=1)
    assert split_pairs(pairs, 20, 20, seed=1) != split_pairs(pairs, 20, 20, seed=2)


def test_parts_may_be_empty_when_asked_to():
    assert split_pairs(pairs_of(3), 0, 0) == {"train": pairs_of(3), "valid": [], "test": []}


@pytest.mark.parametrize(
    ("sizes", "valid", "test", "message"),
    [
        ([1] * 10, 5, 5, "valid_size=5 and test_size=5 leave nothing to train on of 10 clean pairs"),
        ([1] * 10, -1, 5, "must be at least 0, got valid_size=-1 and test_size=5"),
        ([5, 5], 0, 4, "every group of near-duplicates is larger than test_size=4"),
        ([5, 5, 1], 1, 1, "larger than valid_size=1"),
        ([5], 0, 1, "at least 2 groups of examples, got 1"),
    ],
)
def test_parts_that_cannot_be_made_are_refused(sizes, valid, test, message):
    with pytest.raises(InputError, match=message):
        split_pairs(pairs_of(*sizes), valid, test)


def test_parts_are_written_as_tsv(tmp_path):
    parts = {"train": [("Go.", "Va !"), ("Tea", "Thé")], "valid": [], "test": [("Run!", "Cours !")]}
    write_parts(tmp_path / "new" / "folder", parts, {"kept": 3})
    files = {path.name: path.read_bytes().decode() for path in (tmp_path / "new" / "folder").iterdir()}
    assert json.loads(files.pop("report.json")) == {"kept": 3}
    assert files == {"train.tsv": "Go.\tVa !\nTea\tThé\n", "valid.tsv": "", "test.tsv": "Run!\tCours !\n"}


def test_parts_are_read_as_they_were_written(tmp_path):
    pairs = [('"Hi." "Hello."', "x"), ('"Hi."', '"a ""b"""'), ('"', '""'), ('a "b"', '"a" b')]
    write_parts(tmp_path, {"train": pairs, "valid": [], "test": []}, {})
    assert read_pairs(tmp_path / "train.tsv") == pairs


def test_the_tatoeba_pairs_are_held_out_without_leaks():
    default = Path(__file__).parents[4] / "shared" / "data"
    file = Path(os.environ.get("NUMFORMER_DATA", default)) / "mt" / "fra.txt"
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    parts = split_pairs(clean_pairs(islice(read_rows(file), 60_000, 75_000)).pairs)
    assert [len(parts["valid"]), len(parts["test"])] == [1000, 1000]
    for side in (0, 1):
        train, valid, test = (
            {re.sub(r"[\W_]+", "", pair[side].casefold()) for pair in held} for held in parts.values()
        )
        assert [train & valid, train & test, valid & test] == [set()] * 3
