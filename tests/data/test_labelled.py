import csv

import pytest

from numformer.data import read_labelled
from numformer.errors import InputError


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="")
    return file


def labelled(folder, content, name="rows.csv", **options):
    return read_labelled(write(folder / name, content), **options)


def test_a_csv_file_is_read_with_quotes_and_newlines(tmp_path):
    text = '\ufefftext,label\r\n"a, ""b""\r\nc",x\r\n\r\nd\u2028\x85e,y\r\n'
    assert labelled(tmp_path, text) == (['a, "b"\nc', "d\u2028\x85e"], ["x", "y"])


def test_a_tsv_file_is_read(tmp_path):
    assert labelled(tmp_path, 'label\ttext\nx\ta, b\ny\t"c\td"\n', "rows.TSV") == (["a, b", "c\td"], ["x", "y"])


def test_a_json_lines_file_is_read_and_integer_labels_become_text(tmp_path):
    text = '{"text": "a", "label": "x", "n": 1}\n{"label": 0, "text": "b"}'
    assert labelled(tmp_path, text, "rows.jsonl") == (["a", "b"], ["x", "0"])


def test_columns_can_be_named(tmp_path):
    assert labelled(tmp_path, "text,q,kind,label\n1,2,3,4\n", text="q", label="kind") == (["2"], ["3"])


@pytest.mark.parametrize(
    ("header", "options", "expected"),
    [
        ("text,category", {}, ("1", "2")),
        ("category,text", {}, ("2", "1")),
        ("label,question", {}, ("2", "1")),
        ("a,b", {"text": "b"}, ("2", "1")),
        ("a,b", {"label": "b"}, ("1", "2")),
    ],
)
def test_of_two_columns_the_other_one_is_taken_for_a_missing_default(header, options, expected, tmp_path):
    rows = dict(zip(header.split(","), "12", strict=True))
    as_json = str(rows).replace("'", '"')
    assert labelled(tmp_path, f"{header}\n1,2\n", **options) == ([expected[0]], [expected[1]])
    assert labelled(tmp_path, as_json, "rows.jsonl", **options) == ([expected[0]], [expected[1]])


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("a,b", {}, r"no column 'text' for the text \(the columns are 'a', 'b'\)"),
        ("text,a,b", {}, r"no column 'label' for the label \(the columns are 'text', 'a', 'b'\)"),
        ("text,a", {"label": "b"}, r"no column 'b' for the label \(the columns are 'text', 'a'\)"),
        ("text", {}, r"no column 'label' for the label \(the columns are 'text'\)"),
        ("text,label", {"text": "label"}, "cannot both be the column 'label'"),
        ("text,a,a", {"label": "a"}, "the header names the column 'a' more than once"),
    ],
)
def test_columns_that_cannot_be_told_are_listed(header, options, message, tmp_path):
    with pytest.raises(InputError, match=rf"rows\.csv, line 1: .*{message}"):
        labelled(tmp_path, f"{header}\n1,2,3\n", **options)


def test_a_header_of_long_texts_is_shortened_in_the_message(tmp_path):
    with pytest.raises(InputError) as error:
        labelled(tmp_path, "a word and " * 1000 + ",x\n")
    assert len(str(error.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b", "got 1 column, expected 2 as in the header"),
        ("b,y,z", "got 3 columns, expected 2 as in the header"),
        (" ,y", "the text is blank"),
        ("b,", "the label is blank"),
        ('"b"c,y', "not valid CSV .*quotes"),
        ('"b,y\nc,z', "not valid CSV .*quotes"),
    ],
)
def test_a_bad_row_is_named_with_the_line_it_begins_in(row, message, tmp_path):
    with pytest.raises(InputError, match=rf"rows\.csv, line 5: {message}"):
        labelled(tmp_path, f'text,label\n"a\na",x\n\n{row}\n')


def test_a_text_longer_than_the_csv_module_expects_is_read(tmp_path):
    before = csv.field_size_limit(1 << 17)
    try:
        texts, _ = labelled(tmp_path, f"text,label\n{'a' * 200_000},x\n")
    finally:
        csv.field_size_limit(before)
    assert len(texts[0]) == 200_000


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "a"}', r"there is no 'label' \(the keys are 'text'\)"),
        ('{"label": "a"}', r"there is no 'text' \(the keys are 'label'\)"),
        ('{"text": 1, "label": "x"}', "the text must be text, got an integer"),
        ('{"text": "a", "label": true}', "'label' must be text or an integer, got true or false"),
        ('{"text": "a", "label": 1.0}', "'label' must be text or an integer, got a number"),
        ('{"text": "a", "label": ["x"]}', "'label' must be text or an integer, got a list"),
        ('{"text": "a", "label": ""}', "the label is blank"),
    ],
)
def test_a_bad_object_is_named_with_its_line(row, message, tmp_path):
    with pytest.raises(InputError, match=rf"rows\.jsonl, line 2: {message}"):
        labelled(tmp_path, f'{{"text": "a", "label": "x"}}\n{row}', "rows.jsonl")


@pytest.mark.parametrize(("name", "text"), [("a.csv", "text,label\n"), ("a.csv", "\n"), ("a.jsonl", "\n")])
def test_a_file_without_rows_is_named(name, text, tmp_path):
    with pytest.raises(InputError, match=rf"{name} holds no labelled texts"):
        labelled(tmp_path, text, name)


def test_a_folder_with_a_folder_per_label_has_a_text_in_each_file(tmp_path):
    write(tmp_path / "sport" / "2.txt", "b\n")
    write(tmp_path / "sport" / "1.txt", "a\r\n\r\na")
    write(tmp_path / "arts" / "3", "c")
    for left_out in ("README", "arts/README.md", ".DS_Store", ".git/config"):
        write(tmp_path / left_out, "left out")
    assert read_labelled(tmp_path) == (["c", "a\n\na", "b"], ["arts", "sport", "sport"])


def test_a_folder_with_a_file_per_label_has_a_text_on_each_line(tmp_path):
    write(tmp_path / "pos.txt", "c\u2028d\n")
    write(tmp_path / "neg.txt", "a\n \nb\n")
    for left_out in ("Readme.md", "LICENSE.txt", ".hidden"):
        write(tmp_path / left_out, "left out")
    assert read_labelled(tmp_path) == (["a", "b", "c\u2028d"], ["neg", "neg", "pos"])


def test_files_that_differ_in_their_suffix_only_are_labelled_by_it(tmp_path):
    write(tmp_path / "rt-polarity.pos", "b")
    write(tmp_path / "rt-polarity.neg", "a")
    assert read_labelled(tmp_path) == (["a", "b"], ["neg", "pos"])


def test_a_single_file_of_a_folder_is_labelled_by_its_stem(tmp_path):
    write(tmp_path / "pos.txt", "a")
    assert read_labelled(tmp_path) == (["a"], ["pos"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a/1.txt", "b.txt"], "holds folders and files, such as a and b.txt; expected one folder per label or one"),
        (["a/b/1.txt"], "could not read .*: Is a directory"),
        (["a/README", "b/1.txt"], "a holds no text"),
        (["train.csv", "test.csv"], r"holds tables, .*; give .*test\.csv itself"),
        (["one/train.jsonl"], r"one holds tables, .*; give .*train\.jsonl itself"),
        (["README"], "holds no labelled texts"),
    ],
)
def test_a_folder_of_another_layout_is_refused(files, message, tmp_path):
    for file in files:
        write(tmp_path / file, "text")
    with pytest.raises(InputError, match=message):
        read_labelled(tmp_path)


def test_an_empty_text_file_in_a_folder_is_named(tmp_path):
    write(tmp_path / "a" / "1.txt", "\n")
    with pytest.raises(InputError, match=r"1\.txt: the text is blank"):
        read_labelled(tmp_path)


def test_another_kind_of_file_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"in a \.csv, \.tsv or \.jsonl file or a folder, got .*rows\.txt"):
        labelled(tmp_path, "a", "rows.txt")
    with pytest.raises(InputError, match=r"there is no file or folder .*none"):
        read_labelled(tmp_path / "none")


def test_another_encoding_is_read(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes("text,label\né,x".encode("cp1252"))
    assert read_labelled(file, encoding="cp1252") == (["é"], ["x"])
    with pytest.raises(InputError, match="line 2: byte 0xe9 is not utf-8 text"):
        read_labelled(file)


def test_a_label_that_is_not_known_is_named_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,z\n")
    with pytest.raises(InputError, match=r"line 3: the label 'z' is not among the 2 labels of the model \(x, y\)"):
        read_labelled(tmp_path / "a.csv", labels=["x", "y"])
    assert read_labelled(tmp_path / "a.csv", labels=["x", "z"])[1] == ["x", "z"]
