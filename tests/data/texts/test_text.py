import errno
import gzip
import os
import re
import tracemalloc

import numpy as np
import pytest

from numformer.data import TokenWindows, encode_file, read_text_chunks, split_tokens
from numformer.data.texts import text as text_module
from numformer.errors import InputError
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer

MIB = 1 << 20


def write(folder, data):
    file = folder / "text.txt"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(("character", "shift"), [("é", 1), ("日", 1), ("日", 2), ("𝄞", 1), ("𝄞", 2), ("𝄞", 3)])
def test_a_character_across_a_chunk_border_is_kept(character, shift, tmp_path):
    text = "a" * (MIB - shift) + character + "b"
    chunks = list(read_text_chunks(write(tmp_path, text.encode())))
    assert len(chunks) == 2
    assert "".join(chunks) == text


def test_newlines_are_unchanged(tmp_path):
    assert list(read_text_chunks(write(tmp_path, b"a\r\nb\rc\n"))) == ["a\r\nb\rc\n"]


def test_only_a_leading_byte_order_mark_is_dropped(tmp_path):
    text = "\ufeff" + "a" * (MIB - 3) + "\ufeffb"  # the second one begins a chunk
    assert "".join(read_text_chunks(write(tmp_path, text.encode()))) == text[1:]


@pytest.mark.parametrize("offset", [0, 5, MIB - 1, MIB, MIB + 7])
def test_a_byte_that_is_not_utf8_is_named_with_its_offset(offset, tmp_path):
    file = write(tmp_path, b"a" * offset + b"\xff" + b"b" * 10)
    with pytest.raises(
        InputError, match=rf"text\.txt is not UTF-8 text: byte 0xff at offset {offset} .*--tokenizer bytes"
    ):
        list(read_text_chunks(file))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_decides(encoding, tmp_path):
    text = "naïve 日本 𝄞\n" * 100_000
    assert "".join(read_text_chunks(write(tmp_path, text.encode(encoding)))) == text


def test_another_encoding_is_read_and_named_where_a_byte_does_not_fit(tmp_path):
    file = write(tmp_path, "naïve\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"byte 0xef at offset 2 .*; try --encoding cp1252, or take"):
        list(read_text_chunks(file))
    assert list(read_text_chunks(file, "cp1252")) == ["naïve\n"]
    assert len(encode_file(file, CharacterTokenizer("naïve\n"), "cp1252")) == 6
    with pytest.raises(InputError, match="there is no text encoding 'hex'"):
        list(read_text_chunks(file, "hex"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named_and_can_be_read(encoding, tmp_path):
    file = write(tmp_path, "All work\n".encode(encoding))
    with pytest.raises(InputError, match=f"looks like UTF-16 without a byte order mark; try --encoding {encoding}"):
        list(read_text_chunks(file))
    assert list(read_text_chunks(file, encoding)) == ["All work\n"]


@pytest.mark.parametrize("before", [3, MIB + 3])
def test_a_nul_character_is_named_with_its_place(before, tmp_path):
    file = write(tmp_path, b"a" * before + b"\0")
    with pytest.raises(InputError, match=f"holds a NUL character after its first {before} characters"):
        encode_file(file, CharacterTokenizer("a"))
    assert len(encode_file(file, ByteTokenizer())) == before + 1


def test_a_compressed_file_is_read_and_a_damaged_one_named(tmp_path):
    file = tmp_path / "text.txt.gz"
    file.write_bytes(gzip.compress(b"abc\n" * 1000))
    assert "".join(read_text_chunks(file)) == "abc\n" * 1000
    assert ByteTokenizer().decode_bytes(encode_file(file, ByteTokenizer())) == b"abc\n" * 1000
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"could not read .*: the compressed file is damaged"):
        list(read_text_chunks(file))


def test_the_offset_of_a_bad_byte_counts_a_byte_order_mark(tmp_path):
    with pytest.raises(InputError, match="0xff at offset 4 "):
        list(read_text_chunks(write(tmp_path, b"\xef\xbb\xbfa\xff")))


@pytest.mark.parametrize("before", [3, MIB - 1])
def test_a_file_cut_inside_a_character_is_not_utf8(before, tmp_path):
    file = write(tmp_path, b"a" * before + "日".encode()[:2])
    with pytest.raises(InputError, match=f"byte 0xe6 at offset {before} "):
        list(read_text_chunks(file))


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharacterTokenizer("a")])
def test_a_file_that_is_missing_empty_or_a_folder_is_one_sentence(tokenizer, tmp_path):
    for path, reason in [
        (tmp_path / "no.txt", "No such file"),
        (tmp_path, "Is a directory"),
        (write(tmp_path, b""), "empty"),
    ]:
        with pytest.raises(InputError, match=rf"{re.escape(str(path))}.*{reason}"):
            encode_file(path, tokenizer)


def test_a_file_of_only_a_byte_order_mark_holds_no_text(tmp_path):
    with pytest.raises(InputError, match=r"text\.txt holds no text"):
        encode_file(write(tmp_path, b"\xef\xbb\xbf"), CharacterTokenizer("a"))


def test_a_file_is_encoded_as_its_text_is(tmp_path):
    text = "naïve\r\n日本\n" * 150_000
    tokenizer = CharacterTokenizer.from_text(text)
    tokens = encode_file(write(tmp_path, text.encode()), tokenizer)
    assert tokens.dtype == np.uint8
    np.testing.assert_array_equal(tokens, tokenizer.encode(text))


def test_bytes_are_taken_as_they_are_even_when_they_are_not_utf8(tmp_path):
    data = np.random.default_rng(0).bytes(MIB + 1000)
    tokens = encode_file(write(tmp_path, data), ByteTokenizer())
    assert ByteTokenizer().decode_bytes(tokens) == data


@pytest.mark.parametrize("before", ["", "a" * MIB])
def test_an_unknown_character_in_a_file_is_found(before, tmp_path):
    where = f", after its first {MIB} characters" if before else ""
    with pytest.raises(InputError, match=rf"text\.txt{where}: the character 'b' at position 2 is not among the 1 char"):
        encode_file(write(tmp_path, (before + "aab").encode()), CharacterTokenizer("a"))


class WordTokenizer:
    """Tokens are words and runs of white space, numbered as they are first seen."""

    vocab_size = 1000

    def __init__(self):
        self.ids = {}

    def encode(self, text):
        return [self.ids.setdefault(token, len(self.ids)) for token in re.findall(r"\S+|\s+", text)]

    def decode(self, ids):
        return "".join(list(self.ids)[i] for i in ids)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("at_border", ["word", " ", "\n", "\r\n"])
def test_a_custom_tokenizer_never_sees_a_word_or_a_blank_line_cut(newline, at_border, tmp_path):
    lines = f"one word{newline}another{newline}" * 100_000
    text = lines[: MIB - 10] + at_border * 20 + lines
    tokens = encode_file(write(tmp_path, text.encode()), tokenizer := WordTokenizer())
    assert tokens.tolist() == tokenizer.encode(text)


def test_a_text_with_only_blank_lines_between_words_is_cut_at_them(tmp_path):
    text = "word\n\n" * (MIB // 2)
    tokens = encode_file(write(tmp_path, text.encode()), tokenizer := WordTokenizer())
    assert tokens.tolist() == tokenizer.encode(text)


@pytest.mark.parametrize("line", ["word", "\n"])
def test_a_text_that_cannot_be_cut_between_lines_is_still_encoded_whole(line, tmp_path):
    text = line * (3 * MIB // len(line))
    tokenizer = WordTokenizer()
    assert tokenizer.decode(encode_file(write(tmp_path, text.encode()), tokenizer)) == text


def test_a_full_temporary_folder_is_one_sentence(tmp_path, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(text_module.tempfile, "TemporaryFile", full)
    with pytest.raises(InputError, match=r"could not keep the tokens of .*text\.txt in .*: No space left on device"):
        encode_file(write(tmp_path, b"abc"), ByteTokenizer())


def test_a_big_file_is_neither_held_in_memory_nor_cut_into_windows(tmp_path):
    megabytes = 40
    file = write(tmp_path, b"All work and no play makes Jack a dull boy. 0123\n" * (megabytes * MIB // 49))
    tracemalloc.start()
    tokenizer = CharacterTokenizer.from_text(read_text_chunks(file))
    train, valid = split_tokens(encode_file(file, tokenizer), 0.1)
    windows = TokenWindows(train, 256)
    windows.sample(np.random.default_rng(0), 32)
    next(TokenWindows(valid, 256).sequential(batch_size=32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(train) + len(valid) > 40_000_000
    assert peak < 24 * MIB  # less than one copy of the text; its overlapping windows would take 10 GB


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("a", (1, 1)),
        ("a\n", (2, 1)),
        ("é日𝄞\nb", (5, 2)),
        ("\n\n", (2, 2)),
        ("a" * (MIB - 1) + "日\n\nb", (MIB + 3, 3)),
    ],
    ids=lambda value: str(value)[:10],
)
@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharacterTokenizer("a")], ids=["bytes", "characters"])
def test_the_characters_and_lines_of_a_file_are_counted(tokenizer, text, size, tmp_path):
    assert text_module.count_text(write(tmp_path, text.encode()), tokenizer) == size


def test_the_characters_of_a_file_are_counted_in_its_encoding(tmp_path):
    file = write(tmp_path, "é\nö".encode("cp1252"))
    assert text_module.count_text(file, CharacterTokenizer("a"), "cp1252") == (3, 2)
