import json

import pytest

from numformer.data.files.examples import LeftOut
from numformer.data.files.rows import clean_text, joined_text, json_field, json_rows, parse_json
from numformer.errors import InputError


def write(folder, data):
    file = folder / "file.txt"
    file.write_bytes(data)
    return file


def test_json_lines_come_with_their_place_and_without_blank_lines(tmp_path):
    file = write(tmp_path, b'{"a": 1}\n \n{"a": 2}\n')
    assert list(json_rows(file)) == [(f"{file}, line 1", {"a": 1}), (f"{file}, line 3", {"a": 2})]


def test_a_separator_inside_a_json_string_does_not_cut_the_line(tmp_path):
    assert [row for _, row in json_rows(write(tmp_path, '{"a": "x\u2028y"}'.encode()))] == [{"a": "x\u2028y"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', r"not valid JSON \(.* at column 8\)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[1]", "expected a JSON object, got a list"),
        (b"null", "expected a JSON object, got null"),
    ],
    ids=["cut", "digits", "nested", "list", "null"],
)
def test_a_line_that_is_no_json_object_comes_as_its_error(line, message, tmp_path):
    rows = list(json_rows(write(tmp_path, b'{"a": 0}\n' + line + b'\n{"a": 1}')))
    assert [row for _, row in rows[::2]] == [{"a": 0}, {"a": 1}]
    with pytest.raises(InputError, match=rf"file\.txt, line 2: {message}"):
        raise rows[1][1]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_comes_item_by_item(indent, tmp_path):
    text = json.dumps([{"a": "x\u2028y"}, 3, {"a": None}], indent=indent)
    file = write(tmp_path, f"\ufeff\n {text}\n".encode())
    rows = list(json_rows(file))
    assert [rows[0], rows[2]] == [(f"{file}, item 1", {"a": "x\u2028y"}), (f"{file}, item 3", {"a": None})]
    assert str(rows[1][1]) == f"{file}, item 2: expected a JSON object, got an integer"


def test_a_mistake_in_an_array_is_named_with_its_line(tmp_path):
    with pytest.raises(InputError, match=r"file\.txt, line 4: not valid JSON"):
        list(json_rows(write(tmp_path, b'[\n{"a": 1},\n\n}')))


def test_a_mistake_in_a_json_file_is_named_with_its_line():
    with pytest.raises(InputError, match=r"^f\.json, line 3: not valid JSON"):
        parse_json(b'{\n"a": 1,\n}', "f.json")


def test_json_bytes_that_are_no_text_are_refused():
    with pytest.raises(InputError, match=r"^f\.json, line 1: not readable as JSON"):
        parse_json(b'{"a": "\xff"}', "f.json")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "must be text, got an integer"),
        (True, "must be text, got true or false"),
        (["a"], "must be text, got a list"),
        ("a\ud83d", r"holds half a surrogate pair \('\\ud83d'\)"),
        ("a\0", "holds a NUL character"),
    ],
)
def test_what_is_no_text_to_learn_from_is_refused(value, message):
    with pytest.raises(InputError, match=f"^here: the text {message}"):
        clean_text(value, "text", "here")


@pytest.mark.parametrize("value", ["", " \t\u00a0", None])
def test_a_blank_text_is_left_out(value):
    with pytest.raises(LeftOut, match=r"^blank text$"):
        clean_text(value, "text", "here")


def test_text_is_returned_without_the_blanks_around_it():
    assert clean_text(" a  😀\n", "text", "here") == "a  😀"


def test_texts_and_lists_of_texts_are_joined_with_spaces():
    assert joined_text(["a ", ["b", " ", "c"], None, ""], "text", "here") == "a b c"
    with pytest.raises(LeftOut, match=r"^blank text$"):
        joined_text(["", [], [" "]], "text", "here")


@pytest.mark.parametrize(("value", "kind"), [([["a"]], "a list"), ([{}], "an object"), (["a", 1], "an integer")])
def test_a_list_of_anything_else_is_refused(value, kind):
    with pytest.raises(InputError, match=f"^here: the text must be text or a list of texts, got a list with {kind}$"):
        joined_text([value], "text", "here")


def test_a_missing_key_names_the_option_that_chooses_another():
    with pytest.raises(InputError, match=r"^here: there is no 'b' \(the keys are 'a'\); choose another with --text$"):
        json_field({"a": 1}, "b", "here", "text")


def test_many_keys_are_shortened_in_the_message():
    with pytest.raises(InputError) as error:
        json_field({f"key {i}": i for i in range(999)}, "text", "here")
    assert len(str(error.value)) < 300


def test_one_text_is_joined_with_nothing(monkeypatch):
    monkeypatch.setattr("numformer.data.files.rows.suppress", None)
    assert joined_text([" a "], "text", "here") == "a"
    with pytest.raises(LeftOut, match="blank text"):
        joined_text([" "], "text", "here")
