import pytest
from hypothesis import given
from hypothesis import strategies as st

from numformer.errors import InputError
from numformer.generation.streaming import TextStream
from numformer.tokenizers import ByteTokenizer, printable


class Bytes:
    """A byte tokenizer: id 256 is a special token without text."""

    def __init__(self) -> None:
        self.decoded_ids = 0

    def decode(self, ids):
        self.decoded_ids += len(ids)
        return bytes(i for i in ids if i < 256).decode("utf-8", "surrogateescape")


class Pieces:
    """A vocabulary of byte strings, decoded as byte-level subword tokenizers do: bad bytes become U+FFFD."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def decode(self, ids):
        return b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace")


class ByteFallback:
    """SentencePiece style: "▁" is a space, the first one dropped; a run of byte tokens is text only as a whole."""

    def __init__(self, *pieces: str | int) -> None:
        self.pieces = pieces

    def decode(self, ids):
        text, run = "", b""
        for piece in [*(self.pieces[i] for i in ids), ""]:
            if isinstance(piece, int):
                run += bytes([piece])
                continue
            text, run = text + self.whole(run) + piece.replace("▁", " "), b""
        return text.removeprefix(" ")

    @staticmethod
    def whole(run: bytes) -> str:
        try:
            return run.decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(run)


def pieces_of(tokenizer, ids, stop=()):
    stream = TextStream(tokenizer, stop)
    pieces = [stream.push(i) for i in ids]
    flushed = stream.flush()
    assert stream.text == "".join(pieces) + flushed
    return [*pieces, flushed], stream


def byte_pieces(data: bytes, stop=()):
    return pieces_of(Bytes(), data, stop)[0]


def test_ascii_comes_at_once():
    assert byte_pieces(b"abc") == ["a", "b", "c", ""]


def test_emoji_arrives_in_four_pieces():
    assert byte_pieces("a😀b".encode()) == ["a", "", "", "", "😀", "b", ""]


def test_incomplete_character_is_flushed_at_the_end():
    assert byte_pieces(b"a" + "😀".encode()[:3]) == ["a", "", "", "", "\ufffd\ufffd\ufffd"]


def test_invalid_bytes_come_out_as_replacements_once_they_cannot_be_a_character():
    assert byte_pieces(b"\xf0\x9fa") == ["", "", "\ufffd\ufffda", ""]
    assert byte_pieces(b"\x80" * 5) == ["", "", "", "\ufffd", "\ufffd", "\ufffd" * 3]


@pytest.mark.parametrize("invalid", range(24, 40))
def test_character_after_many_invalid_bytes(invalid):
    assert "".join(byte_pieces(b"\x80" * invalid + "😀".encode())) == "\ufffd" * invalid + "😀"


def test_a_stop_string_may_be_the_replacement_of_a_byte():
    assert "".join(byte_pieces(b"ab\xffc", ["\ufffd"])) == "ab"


def test_every_byte_that_is_no_text_is_one_replacement_however_it_is_cut_into_tokens():
    ids = ByteTokenizer().encode(b"a\xf0\x9f\x98b\xff")
    assert "".join(pieces_of(ByteTokenizer(), ids)[0]) == "a\ufffd\ufffd\ufffdb\ufffd"
    assert ByteTokenizer().decode(ids) == "a\udcf0\udc9f\udc98b\udcff"


def test_special_tokens_without_text():
    assert pieces_of(Bytes(), [256, 256, 97, 256, *"é".encode(), 256])[0] == ["", "", "a", "", "", "é", "", ""]


def test_an_incomplete_character_survives_many_tokens_without_text():
    text = "".join(pieces_of(Bytes(), [0xF0, *[256] * 100, 97])[0])
    assert text == "\ufffda"


def test_character_spread_over_subwords():
    emoji = "😀".encode()
    tokenizer = Pieces(b"hi ", emoji[:1], emoji[1:2], emoji[2:], b"!")
    assert pieces_of(tokenizer, range(5))[0] == ["hi ", "", "", "😀", "!", ""]


def test_subwords_that_always_end_inside_a_character():
    data = "日本語の文字" * 20
    cut = data.encode()
    tokens = [cut[:1], *(cut[i : i + 3] for i in range(1, len(cut), 3))]
    pieces, _ = pieces_of(Pieces(*tokens), range(len(tokens)))
    assert pieces[:4] == ["", "日", "本", "語"]
    assert "".join(pieces) == data


def test_replacement_character_in_the_text_itself():
    tokenizer = Pieces(b"a", "\ufffd".encode(), b"b")
    assert pieces_of(tokenizer, [0, 1, 2])[0] == ["a", "", "\ufffdb", ""]
    assert "".join(pieces_of(tokenizer, [1] * 100)[0]) == "\ufffd" * 100


def test_leading_space_is_lost_only_at_the_start():
    tokenizer = ByteFallback("▁the", "▁cat", "s", "▁", "▁▁end")
    assert pieces_of(tokenizer, range(5))[0] == ["the", " cat", "s", " ", "  end", ""]


def test_leading_space_survives_a_special_token():
    assert pieces_of(ByteFallback("▁the", "", "▁cat"), [0, 1, 1, 2])[0] == ["the", "", "", " cat", ""]


def test_runs_of_byte_tokens_that_are_text_only_as_a_whole():
    data = "你好😀" * 10
    tokenizer = ByteFallback("▁a", *data.encode())
    pieces, _ = pieces_of(tokenizer, range(len(data.encode()) + 1))
    assert "".join(pieces) == "a" + data
    assert pieces[:7] == ["a", "", "", "你", "", "", "好"]


@pytest.mark.parametrize(
    ("data", "stop", "pieces"),
    [
        ("xaby", ["ab"], ["x", "", "", "", ""]),
        ("xacy", ["ab"], ["x", "", "ac", "y", ""]),  # a prefix that turns out not to be one
        ("xa", ["ab"], ["x", "", "a"]),  # ... nor at the end
        ("aab", ["ab"], ["", "a", "", ""]),
        ("aaac", ["aab"], ["", "", "a", "aac", ""]),
        ("xabc", ["ab", "abc"], ["x", "", "", "", ""]),
        ("xabc", ["abc", "ab"], ["x", "", "", "", ""]),
        ("xabc", ["b", "ab"], ["x", "", "", "", ""]),  # both end here: the text ends before the longer
        ("xabc", ["abc", "b"], ["x", "", "a", "", ""]),  # "b" is complete first
        ("ab", ["ab"], ["", "", ""]),
        ("a\n\nb", ["\n\n"], ["a", "", "", "", ""]),
    ],
)
def test_stop_string_tables(data, stop, pieces):
    assert byte_pieces(data.encode(), stop) == pieces


def test_stop_string_spans_tokens_and_ends_the_sample():
    tokenizer = Pieces(b"Hello\nUs", b"er", b": more", b" text")
    stream = TextStream(tokenizer, ["\nUser:"])
    assert stream.push(0) == "Hello"
    assert not stream.finished
    assert stream.push(1) == ""
    assert stream.push(2) == ""
    assert stream.finished
    assert stream.push(3) == ""
    assert stream.flush() == ""
    assert stream.text == "Hello"


def test_stop_string_inside_one_token():
    pieces, stream = pieces_of(Pieces(b"one END two"), [0], ["END"])
    assert pieces == ["one ", ""]
    assert stream.finished


def test_first_stop_string_to_be_complete_wins_inside_one_token_too():
    assert pieces_of(Pieces(b"xabc"), [0], ["abc", "b"])[0] == ["xa", ""]


def test_stop_string_of_many_bytes_per_character():
    assert "".join(byte_pieces("naïve😀😀!".encode(), ["😀😀"])) == "naïve"


def test_stop_string_completed_by_the_flush():
    pieces, stream = pieces_of(Pieces(b"a", b"\xf0"), [0, 1], ["a\ufffd"])
    assert pieces == ["", "", ""]
    assert stream.finished


@pytest.mark.parametrize("stop", ["END", [""], ["a", ""]])
def test_bad_stop_strings(stop):
    with pytest.raises(InputError, match=r"^got stop=.*, expected a list of strings"):
        TextStream(Bytes(), stop)


@pytest.mark.parametrize(
    "unit", [b"a", "é".encode(), "😀".encode(), b"\x80", b"\xf0", b"\xf0\x9f", b"a\xf0", "é".encode() + b"\xff"]
)
def test_number_of_decoded_ids_is_linear(unit):
    def decoded(n):
        tokenizer = Bytes()
        pieces, _ = pieces_of(tokenizer, unit * n)
        assert "".join(pieces) == printable(Bytes().decode(unit * n))
        return tokenizer.decoded_ids

    assert decoded(2000) <= 2.1 * decoded(1000)
    assert decoded(1000) <= 40 * len(unit) * 1000


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_pieces_join_to_the_decoded_text_and_are_never_taken_back(data):
    whole = printable(data.decode("utf-8", "surrogateescape"))
    stream = TextStream(Bytes())
    for byte in data:
        stream.push(byte)
        assert whole.startswith(stream.text)
    stream.flush()
    assert stream.text == whole
    assert stream.text.encode().decode() == whole


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_text_does_not_depend_on_how_it_is_cut_into_tokens(text, stop, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    tokens = [text[i:j].encode() for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    _, stream = pieces_of(Pieces(*tokens), range(len(tokens)), stop)

    endings = [end for end in range(len(text) + 1) if text[:end].endswith(tuple(stop))]
    assert stream.finished == bool(endings)
    if endings:
        text = text[: endings[0]]
        text = text[: -max(len(s) for s in stop if text.endswith(s))]
    assert stream.text == text


class SpacedWords:
    """A tokenizer of words with a space before each, which is dropped before the first of a text, as SentencePiece does."""

    WORDS = ("once", "upon", "a", "time", "\ufffd")

    def decode(self, ids):
        return "".join(f" {self.WORDS[i]}" for i in ids)[1:]


@pytest.mark.parametrize("prompt", [[0], [0, 1], [0, 1] * 9])
def test_a_text_after_a_prompt_keeps_the_space_between_them(prompt):
    stream = TextStream(SpacedWords(), (), prompt)
    assert [stream.push(token) for token in (1, 2, 3)] == [" upon", " a", " time"]
    assert SpacedWords().decode([*prompt, 1, 2, 3]) == SpacedWords().decode(prompt) + stream.text


def test_without_a_prompt_or_after_half_a_character_a_text_stands_alone():
    for prompt in ([], [4]):
        stream = TextStream(SpacedWords(), (), prompt)
        assert stream.push(0) + stream.push(1) == "once upon"


def test_a_stop_string_may_begin_with_the_space_after_a_prompt():
    stream = TextStream(SpacedWords(), (" a",), [0])
    assert stream.push(1) + stream.push(2) == " upon"
    assert stream.finished
