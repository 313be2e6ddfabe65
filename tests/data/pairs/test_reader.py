import gzip
import json

import pytest

from numformer.data import read_pairs
from numformer.errors import InputError


def pairs(folder, text, name="pairs.tsv", **options):
    file = folder / name
    file.write_text(text, encoding="utf-8", newline="")
    return read_pairs(file, **options)


def test_two_tab_columns_are_read_without_the_blanks_around_them(tmp_path):
    text = 'Go.\tVa !\r\n"Hi" a, b\t "Salut\n\n \nx\u2028y\tz \n'
    assert pairs(tmp_path, text) == [("Go.", "Va !"), ('"Hi" a, b', '"Salut'), ("x\u2028y", "z")]


def test_a_line_is_a_row_whatever_its_quotation_marks(tmp_path):
    text = '"Hello there\tBonjour\nplain one\tsimple\nhe said so"\t"dit-il"\n"a ""b"" c"\td\n'
    found = pairs(tmp_path, text)
    assert found == [('"Hello there', "Bonjour"), ("plain one", "simple"), ('he said so"', "dit-il"), ('a "b" c', "d")]
    assert found.report() == "4 rows"


def test_a_return_inside_a_line_is_text(tmp_path):
    assert pairs(tmp_path, "a\rb\tc\nd\te") == [("a\rb", "c"), ("d", "e")]
    assert pairs(tmp_path, "a\tb\rc\td\r") == [("a", "b"), ("c", "d")]


def test_compressed_pairs_are_read(tmp_path):
    for name, data in (("a.tsv.gz", b"a\tb\n"), ("a.jsonl.gz", b'{"source": "a", "target": "b"}')):
        (tmp_path / name).write_bytes(gzip.compress(data))
        assert read_pairs(tmp_path / name) == [("a", "b")]


def test_json_lines_are_read_by_their_keys(tmp_path):
    text = '{"source": "a\\tb", "target": "c", "id": 1}\n\n{"target": "e", "source": "d"}\n'
    assert pairs(tmp_path, text, "pairs.jsonl") == [("a\tb", "c"), ("d", "e")]


def test_the_keys_can_be_named(tmp_path):
    text = '{"en": "a", "fr": "b"}'
    assert pairs(tmp_path, text, "pairs.JSONL", source="fr", target="en") == [("b", "a")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a", r"got 1 column, expected 2 \(source TAB target\)"),
        ("a\tb\tc", r"got 3 columns, expected 2 \(source TAB target\); `numformer data clean-pairs` picks columns"),
        ("a\0\tb", "the source holds a NUL character, which is no text"),
    ],
)
def test_a_row_that_is_no_pair_is_named_with_its_line_or_left_out(row, message, tmp_path):
    with pytest.raises(InputError, match=rf"pairs\.tsv, line 3: {message} \(--skip-bad leaves such rows out\)$"):
        pairs(tmp_path, f"x\ty\n\n{row}\n")
    found = pairs(tmp_path, f"x\ty\n\n{row}\nc\td\n", skip_bad=True)
    assert (found, found.left_out) == ([("x", "y"), ("c", "d")], {"malformed": 1})


@pytest.mark.parametrize(
    ("row", "side"), [("\tb", "source"), ("a\t ", "target"), ("\t", "source"), ('""\tb', "source")]
)
def test_a_row_with_a_blank_side_is_left_out_and_counted(row, side, tmp_path):
    found = pairs(tmp_path, f"x\ty\n\n{row}\nc\td\n")
    assert found == [("x", "y"), ("c", "d")]
    assert found.report() == f"3 rows; 1 left out (1 blank {side}, first at line 3)"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"source": "a"}', r"there is no 'target' \(the keys are 'source'\); choose another with --target"),
        ("{}", r"there is no 'source' \(the keys are none\); choose another with --source"),
        ('{"source": "a", "target": 1}', "the target must be text, got an integer"),
        (
            '{"source": ["a", ["b"]], "target": "b"}',
            "the source must be text or a list of texts, got a list with a list",
        ),
        ('{"source": "a", "target": [["b"]]}', "the target must be text, got a list"),
        ('{"source": {"en": "a"}, "target": "b"}', "the source must be text, got an object"),
        ("a\tb", "not valid JSON"),
    ],
)
def test_an_object_that_is_no_pair_is_named_with_its_line(row, message, tmp_path):
    with pytest.raises(InputError, match=rf"pairs\.jsonl, line 2: {message}"):
        pairs(tmp_path, f'{{"source": "a", "target": "b"}}\n{row}', "pairs.jsonl")


def test_an_array_of_objects_is_read_where_json_lines_are(tmp_path):
    assert pairs(tmp_path, '[\n{"source": "a", "target": "b"}\n]', "pairs.json") == [("a", "b")]


def test_sentences_of_a_source_are_joined_and_of_several_targets_the_first_is_taken(tmp_path):
    rows = [
        {"source": ["One.", "Two. "], "target": ["first", "second", "third"]},
        {"source": "One.", "target": ["only"]},
        {"source": ["One."], "target": []},
    ]
    found = pairs(tmp_path, "\n".join(map(json.dumps, rows)), "pairs.jsonl")
    assert found == [("One. Two.", "first"), ("One.", "only")]
    assert found.report() == "3 rows; 2 further targets not used; 1 left out (1 blank target, first at line 3)"


def test_a_file_of_empty_lines_holds_no_pairs(tmp_path):
    with pytest.raises(InputError, match=r"pairs\.tsv holds no pairs"):
        pairs(tmp_path, "\n\n")


def test_another_encoding_is_read(tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_bytes("a\té".encode("latin-1"))
    assert read_pairs(file, encoding="latin-1") == [("a", "é")]
    with pytest.raises(InputError, match="line 1: byte 0xe9 is not utf-8 text; try --encoding cp1252"):
        read_pairs(file)
