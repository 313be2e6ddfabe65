import pytest

from numformer.data import read_pairs
from numformer.errors import InputError


def pairs(folder, text, name="pairs.tsv", **options):
    file = folder / name
    file.write_text(text, encoding="utf-8", newline="")
    return read_pairs(file, **options)


def test_two_tab_columns_are_read_as_they_are(tmp_path):
    text = 'Go.\tVa !\r\n"Hi" a, b\t "Salut\n\nx\u2028y\tz\n'
    assert pairs(tmp_path, text) == [("Go.", "Va !"), ('"Hi" a, b', ' "Salut'), ("x\u2028y", "z")]


def test_json_lines_are_read_by_their_keys(tmp_path):
    text = '{"source": "a\\tb", "target": "c", "id": 1}\n\n{"target": "e", "source": "d"}\n'
    assert pairs(tmp_path, text, "pairs.jsonl") == [("a\tb", "c"), ("d", "e")]


def test_the_keys_can_be_named(tmp_path):
    text = '{"en": "a", "fr": "b"}'
    assert pairs(tmp_path, text, "pairs.JSONL", source="fr", target="en") == [("b", "a")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a", r"got 1 column, expected 2 \(source TAB target\)$"),
        ("a\tb\tc", r"got 3 columns, expected 2 \(source TAB target\); `numformer data clean-pairs` picks columns$"),
        ("\tb", "the source is blank$"),
        ("a\t ", "the target is blank$"),
        ("\t", "the source is blank$"),
    ],
)
def test_a_row_that_is_no_pair_is_named_with_its_line(row, message, tmp_path):
    with pytest.raises(InputError, match=rf"pairs\.tsv, line 3: {message}"):
        pairs(tmp_path, f"x\ty\n\n{row}\n")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"source": "a"}', r"there is no 'target' \(the keys are 'source'\)"),
        ("{}", r"there is no 'source' \(the keys are none\)"),
        ('{"source": "a", "target": 1}', "the target must be text, got an integer"),
        ('{"source": "", "target": "b"}', "the source is blank"),
        ("a\tb", "not valid JSON"),
    ],
)
def test_an_object_that_is_no_pair_is_named_with_its_line(row, message, tmp_path):
    with pytest.raises(InputError, match=rf"pairs\.jsonl, line 2: {message}"):
        pairs(tmp_path, f'{{"source": "a", "target": "b"}}\n{row}', "pairs.jsonl")


def test_a_file_of_empty_lines_holds_no_pairs(tmp_path):
    with pytest.raises(InputError, match=r"pairs\.tsv holds no pairs"):
        pairs(tmp_path, "\n\n")


def test_another_encoding_is_read(tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_bytes("a\té".encode("latin-1"))
    assert read_pairs(file, encoding="latin-1") == [("a", "é")]
    with pytest.raises(InputError, match="line 1: byte 0xe9 is not utf-8 text; try --encoding latin-1"):
        read_pairs(file)
