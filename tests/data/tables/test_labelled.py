import csv
import gzip

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
    assert labelled(tmp_path, text) == [('a, "b"\nc', "x"), ("d\u2028\x85e", "y")]


def test_a_tsv_file_is_read(tmp_path):
    assert labelled(tmp_path, "label\ttext\nx\ta, b\ny\tc\n", "rows.TSV") == [("a, b", "x"), ("c", "y")]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.JSON"])
def test_a_json_lines_file_is_read_and_integer_labels_become_text(name, tmp_path):
    text = '{"text": "a", "label": "x", "n": 1}\n{"label": 0, "text": "b"}'
    assert labelled(tmp_path, text, name) == [("a", "x"), ("b", "0")]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_an_array_of_objects_is_read_where_json_lines_are(name, tmp_path):
    text = '[{"text": "a", "label": "x"},\n {"text": "b", "label": null}]'
    found = labelled(tmp_path, text, name)
    assert (found, found.first) == ([("a", "x")], {"blank label": f"{tmp_path / name}, item 2"})


def test_columns_can_be_named(tmp_path):
    assert labelled(tmp_path, "text,q,kind,label\n1,2,3,4\n", text="q", label="kind") == [("2", "3")]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_several_columns_of_text_are_joined_and_blank_ones_skipped(name, tmp_path):
    columns = {"subject": ["Hi", "", " "], "body": [" there", "you ", ""], "label": ["x", "y", "z"]}
    rows = list(zip(*columns.values(), strict=True))
    separator = "\t" if name.endswith("tsv") else ","
    text = "\n".join(separator.join(row) for row in [tuple(columns), *rows])
    if name.endswith("jsonl"):
        text = "\n".join(str(dict(zip(columns, row, strict=True))).replace("'", '"') for row in rows)
    found = labelled(tmp_path, text, name, text=("subject", "body"))
    assert (found, found.left_out) == ([("Hi there", "x"), ("you", "y")], {"blank text": 1})


@pytest.mark.parametrize(
    ("header", "options", "expected"),
    [
        ("text,category", {}, ("1", "2")),
        ("category,text", {}, ("2", "1")),
        ("label,question", {}, ("2", "1")),
        ("a,b", {"text": "b"}, ("2", "1")),
        ("a,b", {"label": "b"}, ("1", "2")),
        ("text,category,,", {}, ("1", "2")),
    ],
)
def test_of_two_columns_the_other_one_is_taken_for_a_missing_default(header, options, expected, tmp_path):
    rows = dict(zip(header.strip(",").split(","), "12", strict=True))
    as_json = str(rows).replace("'", '"')
    assert labelled(tmp_path, f"{header}\n1,2\n", **options) == [expected]
    assert labelled(tmp_path, as_json, "rows.jsonl", **options) == [expected]


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("a,b", {}, r"no column 'text' for the text \(the columns are 'a', 'b'\); choose another with --text"),
        ("text,a,b", {}, r"no column 'label' for the label \(the columns are 'text', 'a', 'b'\); .* with --label"),
        ("text,a", {"label": "b"}, r"no column 'b' for the label \(the columns are 'text', 'a'\)"),
        ("text", {}, r"no column 'label' for the label \(the columns are 'text'\)"),
        ("text,label", {"text": "label"}, "cannot both be the column 'label'"),
        ("text,a,label", {"text": ("text", "b")}, "no column 'b' for the text"),
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


BAD_ROWS = [
    ("b", "got 1 column, expected 2 as in the header"),
    ("b,y,z", "got 3 columns, expected 2 as in the header"),
    ('"b"c,y', r"after the end of the field quoted here comes 'c,y' \(a quotation mark .* is written twice\)"),
    ('"b,y\nc,z', "the quotation mark opened here is never closed"),
    ("b\0,y", "the text holds a NUL character, which is no text"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_a_bad_row_is_named_with_the_line_it_begins_in(row, message, tmp_path):
    with pytest.raises(InputError, match=rf"rows\.csv, line 5: {message} \(--skip-bad leaves such rows out\)"):
        labelled(tmp_path, f'text,label\n"a\na",x\n\n{row}\n')


@pytest.mark.parametrize("row", [row for row, _ in BAD_ROWS])
def test_skip_bad_leaves_a_bad_row_out_and_reads_the_next_line(row, tmp_path):
    lines = row.count("\n")
    found = labelled(tmp_path, f"text,label\na,x\n{row}\nd,y\n", skip_bad=True)
    assert (found[0], found[-1], len(found)) == (("a", "x"), ("d", "y"), 2 + lines)
    assert (found.left_out, found.rows) == ({"malformed": 1}, 3 + lines)
    assert found.first["malformed"].endswith("rows.csv, line 3")


@pytest.mark.parametrize(
    ("row", "reason"), [(" ,y", "blank text"), ("b, ", "blank label"), (",", "blank text"), (",,", "blank text")]
)
def test_a_blank_field_is_left_out_and_counted(row, reason, tmp_path):
    found = labelled(tmp_path, f"text,label\na,x\n{row}\n{row}\nc,y\n")
    assert (found, found.left_out, found.rows) == ([("a", "x"), ("c", "y")], {reason: 2}, 4)
    assert found.report() == f"4 rows; 2 left out (2 {reason}, first at line 3)"


def test_a_text_longer_than_the_csv_module_expects_is_read(tmp_path):
    before = csv.field_size_limit(1 << 17)
    try:
        ((text, _),) = labelled(tmp_path, f"text,label\n{'a' * 200_000},x\n")
    finally:
        csv.field_size_limit(before)
    assert len(text) == 200_000


# Rows that a quotation mark swallows.

SWALLOWED = 'text,label\n"Hello there,pos\nplain one,neg\nhe said so",pos\nfine,pos\ndull,neg\n'


def test_a_quotation_mark_that_swallows_rows_with_known_labels_is_named(tmp_path):
    with pytest.raises(InputError, match=r"line 2: the quotation mark opened here takes .* rows by themselves"):
        labelled(tmp_path, SWALLOWED)


def test_swallowed_rows_are_read_again_with_skip_bad(tmp_path):
    found = labelled(tmp_path, SWALLOWED, skip_bad=True)
    assert found == [("plain one", "neg"), ('he said so"', "pos"), ("fine", "pos"), ("dull", "neg")]
    assert (found.left_out, found.rows) == ({"malformed": 1}, 5)


def test_rows_swallowed_by_a_text_in_the_last_column_are_found_by_its_second_line(tmp_path):
    text = 'label,text\npos,"Hello there\nneg,plain one\npos,he said so"\npos,fine\nneg,dull\n'
    found = labelled(tmp_path, text, skip_bad=True)
    assert found == [("plain one", "neg"), ('he said so"', "pos"), ("fine", "pos"), ("dull", "neg")]


@pytest.mark.parametrize("text", ["Hello, friend\nhow are you", "pos\nneg", "a,\nb", "one\n\nx,pos,y"])
def test_a_text_over_several_lines_that_are_no_rows_is_read_and_said(text, tmp_path):
    found = labelled(tmp_path, f'text,label\n"{text}",pos\nfine,pos\ndull,neg\n')
    assert found == [(text, "pos"), ("fine", "pos"), ("dull", "neg")]
    assert found.report() == "3 rows; 1 over several lines"


# Objects of JSON.


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "a"}', r"there is no 'label' \(the keys are 'text'\); choose another with --label"),
        ('{"label": "a"}', r"there is no 'text' \(the keys are 'label'\); choose another with --text"),
        ('{"text": 1, "label": "x"}', "the text must be text, got an integer"),
        ('{"text": [["a"]], "label": "x"}', "the text must be text or a list of texts, got a list with a list"),
        ('{"text": {"a": 1}, "label": "x"}', "the text must be text, got an object"),
        ('{"text": "a", "label": true}', "the label must be text or an integer, got true or false"),
        ('{"text": "a", "label": 1.0}', "the label must be text or an integer, got a number"),
        ('{"text": "a", "label": ["x"]}', "the label must be text or an integer, got a list"),
        ("[]", "expected a JSON object, got a list"),
    ],
)
def test_a_bad_object_is_named_with_its_line_or_left_out(row, message, tmp_path):
    text = f'{{"text": "a", "label": "x"}}\n{row}\n{{"text": "b", "label": "y"}}'
    with pytest.raises(InputError, match=rf"rows\.jsonl, line 2: {message}"):
        labelled(tmp_path, text, "rows.jsonl")
    found = labelled(tmp_path, text, "rows.jsonl", skip_bad=True)
    assert (found, found.left_out) == ([("a", "x"), ("b", "y")], {"malformed": 1})


def test_a_list_of_texts_is_joined(tmp_path):
    text = '{"text": ["One sentence.", " ", "Another."], "label": "x"}\n{"text": [], "label": "x"}'
    found = labelled(tmp_path, text, "rows.jsonl")
    assert (found, found.left_out) == ([("One sentence. Another.", "x")], {"blank text": 1})


@pytest.mark.parametrize(("name", "text"), [("a.csv", "text,label\n"), ("a.csv", "\n"), ("a.jsonl", "\n")])
def test_a_file_without_rows_is_named(name, text, tmp_path):
    with pytest.raises(InputError, match=rf"{name} holds no labelled texts \(0 rows\)"):
        labelled(tmp_path, text, name)


def test_a_file_of_which_every_row_is_left_out_says_why(tmp_path):
    with pytest.raises(
        InputError, match=r"holds no labelled texts \(2 rows; 2 left out \(2 blank label, first at line 2\)"
    ):
        labelled(tmp_path, "text,label\na,\nb,\n")


# Folders.


def test_a_folder_with_a_folder_per_label_has_a_text_in_each_file(tmp_path):
    write(tmp_path / "sport" / "2.txt", "b\n")
    write(tmp_path / "sport" / "1.txt", "a\r\n\r\na")
    write(tmp_path / "arts" / "3", "c")
    for left_out in ("README", "arts/README.md", ".DS_Store", ".git/config"):
        write(tmp_path / left_out, "left out")
    assert read_labelled(tmp_path) == [("c", "arts"), ("a\n\na", "sport"), ("b", "sport")]


def test_a_folder_with_a_file_per_label_has_a_text_on_each_line(tmp_path):
    write(tmp_path / "pos.txt", "c\u2028d\n")
    write(tmp_path / "neg.txt", "a\n \nb\n")
    for left_out in ("Readme.md", "LICENSE.txt", ".hidden"):
        write(tmp_path / left_out, "left out")
    assert read_labelled(tmp_path) == [("a", "neg"), ("b", "neg"), ("c\u2028d", "pos")]


def test_files_that_differ_in_their_suffix_only_are_labelled_by_it(tmp_path):
    write(tmp_path / "rt-polarity.pos", "b")
    write(tmp_path / "rt-polarity.neg", "a")
    assert read_labelled(tmp_path) == [("a", "neg"), ("b", "pos")]


@pytest.mark.parametrize("names", [("pos.txt.gz", "neg.txt.gz"), ("rt.pos.gz", "rt.neg.gz"), ("pos/1.gz", "neg/1.gz")])
def test_compressed_texts_of_a_folder_are_labelled_as_others(names, tmp_path):
    for name, text in zip(names, "ba", strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    assert read_labelled(tmp_path) == [("a", "neg"), ("b", "pos")]


def test_a_single_file_of_a_folder_is_labelled_by_its_stem(tmp_path):
    write(tmp_path / "pos.txt", "a")
    assert read_labelled(tmp_path) == [("a", "pos")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a/1.txt", "b.txt"], "holds folders and files, such as a and b.txt; expected one folder per label or one"),
        (["a/b/1.txt"], "could not read .*: Is a directory"),
        (["a/README", "b/1.txt"], "a holds no text"),
        (["train.csv", "test.csv"], r"holds tables, .*; give .*test\.csv itself"),
        (["train.csv.gz"], r"holds tables, .*; give .*train\.csv\.gz itself"),
        (["one/train.jsonl"], r"one holds tables, .*; give .*train\.jsonl itself"),
        (["README"], "holds no labelled texts"),
    ],
)
def test_a_folder_of_another_layout_is_refused(files, message, tmp_path):
    for file in files:
        write(tmp_path / file, "text")
    with pytest.raises(InputError, match=message):
        read_labelled(tmp_path)


def test_an_empty_text_file_in_a_folder_is_left_out_and_counted(tmp_path):
    write(tmp_path / "a" / "1.txt", "\n")
    write(tmp_path / "a" / "2.txt", "")
    write(tmp_path / "b" / "1.txt", "b")
    found = read_labelled(tmp_path)
    assert (found, found.left_out, found.rows) == ([("b", "b")], {"blank text": 2}, 3)
    assert found.report() == "3 rows; 2 left out (2 blank text, first at " + str(tmp_path / "a" / "1.txt") + ")"


def test_a_file_that_is_no_text_in_a_folder_is_left_out_with_skip_bad(tmp_path):
    write(tmp_path / "a" / "1.txt", "a")
    (tmp_path / "a" / "2.txt").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match=r"2\.txt, line 1: byte 0xff"):
        read_labelled(tmp_path)
    found = read_labelled(tmp_path, skip_bad=True)
    assert (found, found.left_out) == ([("a", "a")], {"malformed": 1})


def test_another_kind_of_file_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"in a \.csv, \.tsv, \.jsonl or \.json file or a folder, got .*rows\.txt"):
        labelled(tmp_path, "a", "rows.txt")
    with pytest.raises(InputError, match=r"there is no file or folder .*none"):
        read_labelled(tmp_path / "none")


def test_another_encoding_is_read(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes("text,label\né,x".encode("cp1252"))
    assert read_labelled(file, encoding="cp1252") == [("é", "x")]
    with pytest.raises(InputError, match="line 2: byte 0xe9 is not utf-8 text; try --encoding cp1252"):
        read_labelled(file)


def test_an_object_unlike_the_others_does_not_change_what_the_columns_are(tmp_path):
    first = tmp_path / "first.jsonl"
    first.write_text('{"id": 1, "text": "a"}\n' + '{"id": 2, "text": "b", "label": "x"}\n' * 3)
    with pytest.raises(InputError, match=r"first\.jsonl, line 1: there is no 'label'"):
        read_labelled(first)
    found = read_labelled(first, skip_bad=True)
    assert (list(found), found.left_out.total()) == ([("b", "x")] * 3, 1)
