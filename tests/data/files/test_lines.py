import gzip
import os
import threading

import pytest

from numformer.data.files.lines import read_lines, split_lines, suffix_of
from numformer.errors import InputError


def write(folder, data, name="file.txt"):
    file = folder / name
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
    with pytest.raises(InputError, match=rf"line {before + 1}: byte 0xe9 is not utf-8 text; try --encoding cp1252$"):
        lines(tmp_path, "日本".encode() * (before > 0) + end * before + b"caf\xe9 x")


def test_a_file_cut_inside_a_character_is_named_with_its_line(tmp_path):
    with pytest.raises(InputError, match="line 2: byte 0xe6 "):
        lines(tmp_path, b"a\n" + "日".encode()[:2])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("asked", ["utf-8", "cp1252"])
def test_a_byte_order_mark_decides(encoding, asked, tmp_path):
    if encoding != "utf-8-sig" or asked == "utf-8":
        assert lines(tmp_path, "é\r\nö\n".encode(encoding), encoding=asked) == ["é", "ö"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("asked", ["utf-8", "cp1252", "utf-16"])
def test_utf16_without_a_mark_is_named_and_can_be_read(encoding, asked, tmp_path):
    data = "text,label\nçé,x\n".encode(encoding)
    with pytest.raises(InputError, match=f"UTF-16 without a byte order mark; try --encoding {encoding}$"):
        lines(tmp_path, data, encoding=asked)
    assert lines(tmp_path, data, encoding=encoding) == ["text,label", "çé,x"]


def test_a_single_zero_byte_is_no_sign_of_utf16(tmp_path):
    assert lines(tmp_path, b"a\0bcdefgh\nijk") == ["a\0bcdefgh", "ijk"]


def test_a_return_inside_a_line_is_text_where_lines_end_with_feeds(tmp_path):
    assert lines(tmp_path, b"a\rb\nc\r\r\n\rd") == ["a\rb", "c\r", "\rd"]


@pytest.mark.parametrize("text", ["a\rb\nc\r\n", "a\rb\r", "a\nb", "\ufeffa\n\nb\n\n", "a", "\n", "a\r\r\nb"])
def test_a_text_is_split_as_a_file_is(text, tmp_path):
    assert split_lines(text) == lines(tmp_path, text.encode())


def test_no_text_has_no_lines():
    assert split_lines("") == split_lines("\ufeff") == []


def test_a_compressed_file_is_read(tmp_path):
    file = write(tmp_path, gzip.compress("é\nö\n".encode()), "file.txt.gz")
    assert list(read_lines(file)) == ["é", "ö"]
    assert list(read_lines(write(tmp_path, gzip.compress("é".encode("utf-16")), "A.GZ"))) == ["é"]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:40] + b"x" + data[41:], lambda data: b"a"]
)
def test_a_damaged_compressed_file_is_one_sentence(damage, tmp_path):
    file = write(tmp_path, damage(gzip.compress(bytes(range(32, 127)) * 20)), "file.gz")
    with pytest.raises(InputError, match=r"^could not read .*file\.gz: [^\n]*$"):
        list(read_lines(file))


def test_a_bad_byte_before_damage_of_a_compressed_file_is_one_sentence(tmp_path):
    file = write(tmp_path, gzip.compress(b"\xff" + bytes(range(32, 127)) * 2000)[:-9], "file.gz")
    with pytest.raises(InputError, match="line 1: byte 0xff is not utf-8"):
        list(read_lines(file))


def test_the_bytes_read_add_up(tmp_path):
    heard = []
    file = write(tmp_path, b"a line\r\n" * 10_000 + b"\xff")
    assert len(list(read_lines(file, errors="surrogateescape", advance=heard.append))) == 10_001
    assert sum(heard) == file.stat().st_size
    assert len(heard) > 1


@pytest.mark.parametrize("data", ["é\n".encode() * 20_000, "é\r".encode() * 5, "é\n".encode("utf-16")])
def test_a_pipe_is_read_from_its_beginning(data, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert set(read := list(read_lines(tmp_path / "pipe"))) == {"é"}
    assert len(read) == (20_000 if len(data) > 1000 else 5 if b"\r" in data else 1)
    writer.join()


@pytest.mark.parametrize(("name", "suffix"), [("a.csv", ".csv"), ("a.b.CSV.gz", ".csv"), ("a", ""), ("a.gz", "")])
def test_the_suffix_says_what_a_file_holds(name, suffix):
    assert suffix_of(name) == suffix


def test_text_that_is_not_in_the_encoding_asked_for_is_named(tmp_path):
    with pytest.raises(InputError, match=r"file\.txt is not utf-16 text"):
        lines(tmp_path, b"abcd", encoding="utf-16")


@pytest.mark.parametrize("encoding", ["klingon", "hex"])
def test_an_encoding_that_is_none_is_refused(encoding, tmp_path):
    with pytest.raises(InputError, match=f"no text encoding '{encoding}'"):
        lines(tmp_path, b"a", encoding=encoding)


@pytest.mark.parametrize("encoding", ["idna", "undefined"])
def test_an_encoding_that_fits_no_text_is_named(encoding, tmp_path):
    with pytest.raises(InputError, match=f"is not {encoding} text"):
        lines(tmp_path, b"a\xe9..", encoding=encoding)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(InputError, match="no file can be called"):
        list(read_lines("a\0b"))
