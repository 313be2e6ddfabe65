import pytest

from numformer.data.valued import read_valued
from numformer.errors import InputError


def write(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,value\n"a, b",1.5\nc,-2e3\n'),
        ("a.csv", 'number,text\n1.5,"a, b"\n-2e3,c\n'),
        ("a.tsv", "value\ttext\n 1.5\ta, b\n-2000\tc\n"),
        ("a.jsonl", '{"text": "a, b", "value": 1.5}\n\n{"text": "c", "value": "-2000"}\n'),
        ("A.JSONL", '{"text": "a, b", "value": 1.5}\n{"text": "c", "value": -2000}\n'),
    ],
)
def test_texts_and_numbers_are_read(tmp_path, name, content):
    assert read_valued(write(tmp_path, name, content)) == [("a, b", 1.5), ("c", -2000.0)]


def test_columns_are_chosen_by_name(tmp_path):
    path = write(tmp_path, "a.csv", "id,stars,body\n1,2,good\n")
    assert read_valued(path, text="body", value="stars") == [("good", 2.0)]


@pytest.mark.parametrize("value", ["", "x", "nan", "-inf", "1e999", "1_000", "1,5", "0x1", "5 EUR", str(10**400)])
def test_a_value_that_is_no_finite_number_is_named_with_its_place(tmp_path, value):
    path = write(tmp_path, "a.csv", f'text,value\na,1\nb,"{value}"\n')
    with pytest.raises(InputError, match=r"a\.csv, line 3: the value must be a finite number, got '"):
        read_valued(path)


@pytest.mark.parametrize("value", ["null", "true", "[1]", "NaN", "1" + 400 * "0"])
def test_json_that_is_no_finite_number_is_named_with_its_place(tmp_path, value):
    path = write(tmp_path, "a.jsonl", f'{{"text": "a", "value": {value}}}\n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: (the value|'value') must be a (finite )?number, got"):
        read_valued(path)


def test_a_file_that_is_not_there_or_no_table_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_valued(tmp_path / "a.csv")
    with pytest.raises(InputError, match="texts with numbers come in"):
        read_valued(write(tmp_path, "a.txt", "a 1\n"))
