import pytest

from numformer.data.lines import check_text, json_field, parse_json, read_json_lines, read_lines
from numformer.errors import InputError


def write(folder, data):
    file = folder / "file.txt"
    file.write_bytes(data)
    return file


def lines(folder, data, **options):
    return list(read_lines(write(folder, data), **options))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last_end", [True, False])
def test_every_line_end_is_dropped(end, last_end, tmp_path):
    assert lines(tmp_path, b"a" + end + end + b"b" + end * last_end) == ["a", "", "b"]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_no_other_character_ends_a_line(character, tmp_path):
    assert lines(tmp_path, f"a{character}b\nc".encode()) == [f"a{character}b", "c"]


def test_spaces_around_a_line_are_kept(tmp_path):
    assert lines(tmp_path, b" a\t\nb ") == [" a\t", "b "]


def test_only_a_leading_byte_order_mark_is_dropped(tmp_path):
    assert lines(tmp_path, "\ufeffa\n\ufeffb".encode()) == ["a", "\ufeffb"]


def test_another_encoding_is_read(tmp_path):
    assert lines(tmp_path, "é\nö".encode("latin-1"), encoding="latin-1") == ["é", "ö"]
    assert lines(tmp_path, "é\nö".encode("utf-16"), encoding="utf-16") == ["é", "ö"]


def test_lines_come_while_the_file_is_read(tmp_path):
    assert next(read_lines(write(tmp_path, b"a\n" * 10**5 + b"\xff"))) == "a"


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_named(data, tmp_path):
    with pytest.raises(InputError, match=r"file\.txt is empty"):
        lines(tmp_path, data)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"could not read .*none\.txt: No such file"):
        list(read_lines(tmp_path / "none.txt"))
    with pytest.raises(InputError, match=r"could not read .*: Is a directory"):
        list(read_lines(tmp_path))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("before", [0, 3, 20_000])
def test_a_bad_byte_is_named_with_its_line(before, end, tmp_path):
    with pytest.raises(InputError, match=rf"line {before + 1}: byte 0xe9 is not utf-8 text; try --encoding latin-1$"):
        lines(tmp_path, "日本".encode() * (before > 0) + end * before + b"caf\xe9 x")


def test_a_file_cut_inside_a_character_is_named_with_its_line(tmp_path):
    with pytest.raises(InputError, match="line 2: byte 0xe6 "):
        lines(tmp_path, b"a\n" + "日".encode()[:2])


def test_a_utf16_file_is_recognised(tmp_path):
    with pytest.raises(InputError, match="line 1: byte 0xff is not utf-8 text; try --encoding utf-16"):
        lines(tmp_path, b"\xff\xfea\x00")


def test_text_that_is_not_in_the_encoding_asked_for_is_named(tmp_path):
    with pytest.raises(InputError, match=r"file\.txt is not utf-16 text"):
        lines(tmp_path, b"abcd", encoding="utf-16")


@pytest.mark.parametrize("encoding", ["klingon", "hex"])
def test_an_encoding_that_is_none_is_refused(encoding, tmp_path):
    with pytest.raises(InputError, match=f"no text encoding '{encoding}'"):
        lines(tmp_path, b"a", encoding=encoding)


def test_json_lines_come_with_their_place_and_without_blank_lines(tmp_path):
    file = write(tmp_path, b'{"a": 1}\n \n{"a": 2}\n')
    assert list(read_json_lines(file)) == [(f"{file}, line 1", {"a": 1}), (f"{file}, line 3", {"a": 2})]


def test_a_separator_inside_a_json_string_does_not_cut_the_line(tmp_path):
    assert [row for _, row in read_json_lines(write(tmp_path, '{"a": "x\u2028y"}'.encode()))] == [{"a": "x\u2028y"}]


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
def test_a_line_that_is_no_json_object_is_named(line, message, tmp_path):
    with pytest.raises(InputError, match=rf"file\.txt, line 2: {message}"):
        list(read_json_lines(write(tmp_path, b"{}\n" + line)))


def test_a_mistake_in_a_json_file_is_named_with_its_line():
    with pytest.raises(InputError, match=r"^f\.json, line 3: not valid JSON"):
        parse_json(b'{\n"a": 1,\n}', "f.json")


def test_json_bytes_that_are_no_text_are_refused():
    with pytest.raises(InputError, match=r"^f\.json, line 1: not readable as JSON"):
        parse_json(b'{"a": "\xff"}', "f.json")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "is blank"),
        (" \t\u00a0", "is blank"),
        (3, "must be text, got an integer"),
        (True, "must be text, got true or false"),
        (None, "must be text, got null"),
        ("a\ud83d", r"holds half a surrogate pair \('\\ud83d'\)"),
    ],
)
def test_what_is_no_text_to_learn_from_is_refused(value, message):
    with pytest.raises(InputError, match=f"^here: the text {message}"):
        check_text(value, "the text", "here")


def test_text_is_returned_as_it_is():
    assert check_text(" a 😀 ", "the text", "here") == " a 😀 "


@pytest.mark.parametrize("encoding", ["idna", "undefined"])
def test_an_encoding_that_fits_no_text_is_named(encoding, tmp_path):
    with pytest.raises(InputError, match=f"is not {encoding} text"):
        lines(tmp_path, b"a\xe9..", encoding=encoding)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(InputError, match="no file can be called"):
        list(read_lines("a\0b"))


def test_many_keys_are_shortened_in_the_message():
    with pytest.raises(InputError) as error:
        json_field({f"key {i}": i for i in range(999)}, "text", "here")
    assert len(str(error.value)) < 300
