import pytest

from numformer.data.tables.valued import read_valued
from numformer.errors import InputError


def write(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,value\n"a, b",1.5\nc,-2e3\n'),
        ("a.csv", 'number,text\n1.5,"a, b"\n-2e3,c\n'),
        ("a.csv", "text;value\na, b;1.5\nc;-2000\n"),
        ("a.json", '[{"text": ["a,", "b"], "value": 1.5}, {"text": "c", "value": "-2e3"}]'),
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


@pytest.mark.parametrize("value", ["x", "nan", "-inf", "1e999", "1_000", "1,5", "0x1", "5 EUR", str(10**400)])
def test_a_value_that_is_no_finite_number_is_named_with_its_place(tmp_path, value):
    path = write(tmp_path, "a.csv", f'text,value\na,1\nb,"{value}"\n')
    with pytest.raises(InputError, match=r"a\.csv, line 3: the value must be a finite number, got '"):
        read_valued(path)


@pytest.mark.parametrize("value", ["true", "[1]", "NaN", "1" + 400 * "0"])
def test_json_that_is_no_finite_number_is_named_with_its_place(tmp_path, value):
    path = write(tmp_path, "a.jsonl", f'{{"text": "a", "value": {value}}}\n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: (the value|'value') must be a (finite )?number, got"):
        read_valued(path)


def test_a_file_that_is_not_there_or_no_table_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_valued(tmp_path / "a.csv")
    with pytest.raises(InputError, match="texts with numbers come in"):
        read_valued(write(tmp_path, "a.txt", "a 1\n"))


def test_several_columns_of_text_are_joined(tmp_path):
    path = write(tmp_path, "a.csv", "title,body,stars\ngood,,2\nso,bad,1\n,,3\n")
    found = read_valued(path, text=["title", "body"], value="stars")
    assert (found, found.left_out) == ([("good", 2.0), ("so bad", 1.0)], {"blank text": 1})


@pytest.mark.parametrize(
    ("name", "row"), [("a.csv", "b, "), ("a.tsv", 'b\t""'), ("a.jsonl", '{"text": "b", "value": null}')]
)
def test_a_blank_value_is_left_out_and_counted(name, row, tmp_path):
    head = {"a.csv": "text,value\na,1", "a.tsv": "text\tvalue\na\t1", "a.jsonl": '{"text": "a", "value": 1}'}[name]
    found = read_valued(write(tmp_path, name, f"{head}\n{row}\n"))
    assert (found, found.left_out) == ([("a", 1.0)], {"blank value": 1})


def test_skip_bad_leaves_out_what_is_no_number(tmp_path):
    found = read_valued(write(tmp_path, "a.csv", "text,value\na,1\nb,5 EUR\nc\nd,2\n"), skip_bad=True)
    assert (found, found.left_out) == ([("a", 1.0), ("d", 2.0)], {"malformed": 2})


def test_a_quotation_mark_that_swallows_rows_with_numbers_is_named(tmp_path):
    path = write(tmp_path, "a.csv", 'text,value\n"Hello there,3.21\nplain one,4.33\nhe said so",1.2\n')
    with pytest.raises(InputError, match=r"a\.csv, line 2: the quotation mark opened here takes the next lines"):
        read_valued(path)
    assert read_valued(path, skip_bad=True) == [("plain one", 4.33), ('he said so"', 1.2)]
