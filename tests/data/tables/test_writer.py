"""Tables that are written: what the readers here, the csv module and JSON read back."""

import csv
import json

import pytest

from numformer.data.tables.reader import read_table
from numformer.data.tables.writer import check_table, writing_table
from numformer.errors import InputError

AWKWARD = ["plain", "a,b;c|d", 'he said "so"', '"whole"', '"begun', "=1+1", "Zoë 😀", "#", "", "NA", "a\u2028b", "0123"]
BREAKS = ["two\nlines", "two\r\nlines", "a\rb", "a\tb"]


def write(path, rows, names):
    with writing_table(path, names) as write_row:
        for row in rows:
            write_row(row)


def read(path):
    return [dict(cells) for _, cells in read_table(path)]


@pytest.mark.parametrize(
    ("name", "texts"), [("x.csv", AWKWARD + BREAKS), ("x.tsv", AWKWARD), ("x.jsonl", AWKWARD + BREAKS)]
)
def test_text_is_read_back_as_it_was(tmp_path, name, texts):
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    write(tmp_path / name, rows, ["id", "text"])
    assert [row["text"].replace("\r\n", "\n") for row in read(tmp_path / name)] == [
        text.replace("\r\n", "\n") for text in texts
    ]


def test_the_csv_module_reads_it_too(tmp_path):
    texts = AWKWARD + BREAKS
    write(tmp_path / "x.csv", [{"a": text, "b": "1"} for text in texts], ["a", "b"])
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a", "b"], *([text, "1"] for text in texts)]


def test_a_line_of_tsv_is_a_row_and_lost_breaks_are_counted(tmp_path, capsys):
    write(tmp_path / "x.tsv", [{"a": "two\nlines", "b": "x\ty"}, {"a": "one", "b": ""}], ["a", "b"])
    assert (tmp_path / "x.tsv").read_text() == "a\tb\ntwo lines\tx y\none\t\n"
    note = "2 cells with spaces for TABs and line breaks, which a .csv file would keep"
    assert capsys.readouterr().err == f"{tmp_path / 'x.tsv'}: {note}\n"


def test_values_that_are_no_text_are_json_and_none_is_empty(tmp_path):
    row = {"a": 0.25, "b": None, "c": ["x", "ü"], "d": 3, "e": True, "other": "left out"}
    write(tmp_path / "x.csv", [row], "abcde")
    assert (tmp_path / "x.csv").read_text() == 'a,b,c,d,e\n0.25,,"[""x"", ""ü""]",3,true\n'
    write(tmp_path / "x.jsonl", [row], "abcde")
    assert json.loads((tmp_path / "x.jsonl").read_text()) == row


def test_an_interruption_leaves_the_old_file_and_no_half_one(tmp_path):
    (tmp_path / "x.csv").write_text("old")

    def interrupted():
        with writing_table(tmp_path / "x.csv", ["a"]) as write_row:
            write_row({"a": "1"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "old"


@pytest.mark.parametrize("name", ["x.txt", "x", "x.xlsx", "x.csv.gz"])
def test_other_files_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"a table is written to a \.csv, \.tsv or \.jsonl file, got "):
        check_table(tmp_path / name)
    check_table(None)
