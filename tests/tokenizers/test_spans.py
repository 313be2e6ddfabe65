from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, SubwordTokenizer, WordTokenizer

TEXT = "The naïve  cat's café\n日本 🙂 <eos> (3.5)"


def make(kind):
    if kind == "characters":
        return CharacterTokenizer.from_text(TEXT, special_tokens=True)
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "words":
        return WordTokenizer.train([TEXT], 300)
    pytest.importorskip("tokenizers")
    return SubwordTokenizer.train(kind, [TEXT] * 3, 330)


@pytest.fixture(scope="module", params=["characters", "bytes", "bpe", "wordpiece", "unigram", "words"])
def tokenizer(request):
    return make(request.param)


def pieces(tokenizer, text):
    return [text[start:end] for start, end in tokenizer.encode_spans(text)[1]]


def test_spans_come_with_the_ids_of_the_text(tokenizer):
    ids, spans = tokenizer.encode_spans(TEXT)
    expected = tokenizer.features([w for w, *_ in tokenizer.words(TEXT)]) if hasattr(tokenizer, "words") else None
    assert ids.tolist() == (tokenizer.encode(TEXT) if expected is None else expected).tolist()
    assert spans.shape == (len(ids), 2)
    assert spans.dtype.kind == "i"


@settings(derandomize=True, deadline=None)
@given(text=st.text(max_size=30))
def test_spans_lie_in_the_text_in_order_and_miss_nothing_that_is_seen(tokenizer, text):
    _, spans = tokenizer.encode_spans(text)
    starts, ends = spans.T.tolist()
    assert all(0 <= start < end <= len(text) for start, end in zip(starts, ends, strict=True))
    assert starts == sorted(starts)
    if not isinstance(tokenizer, SubwordTokenizer):  # BERT's normaliser drops control characters
        covered = {i for start, end in zip(starts, ends, strict=True) for i in range(start, end)}
        assert all(i in covered for i, character in enumerate(text) if not character.isspace())


def test_an_empty_text_has_no_spans(tokenizer):
    ids, spans = tokenizer.encode_spans("")
    assert len(ids) == 0
    assert spans.shape == (0, 2)


def test_every_byte_has_the_span_of_its_character():
    assert pieces(ByteTokenizer(), "aé日🙂\udcff.") == [*"aéé日日日🙂🙂🙂🙂", "\udcff", "."]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_space_before_a_word_is_not_part_of_its_span(kind):
    tokenizer = make(kind)
    found = pieces(tokenizer, "The  café\n cat")
    assert all(piece == piece.strip() or piece.isspace() for piece in found)
    assert "".join(found).replace(" ", "").replace("\n", "") == "Thecafécat"


def test_a_character_cut_into_bytes_keeps_its_span():
    assert pieces(make("bpe"), "x 京")[-3:] == ["京"] * 3


def test_spans_of_wordpieces_are_of_the_text_as_it_was_written():
    pytest.importorskip("tokenizers")
    tokenizer = SubwordTokenizer.train("wordpiece", ["naive cafe"] * 3, 100, lowercase=True)
    assert "".join(pieces(tokenizer, " NAÏVE\u00a0 Café")) == "NAÏVECafé"


@pytest.mark.parametrize("kind", ["words", "wordpiece"])
def test_letters_of_scripts_without_spaces_have_spans_of_their_own(kind):
    text = "我爱Python编程 ที่นี่ラーメン"
    if kind == "wordpiece":
        pytest.importorskip("tokenizers")
    train = WordTokenizer.train if kind == "words" else partial(SubwordTokenizer.train, "wordpiece")
    found = pieces(train([text] * 3, vocab_size=200), text)
    assert found == ["我", "爱", "Python", "编", "程", "ที่", "นี่", *"ラーメン"]


def test_words_have_the_spans_of_words_and_punctuation():
    assert pieces(make("words"), "The cat's café (3.5)") == ["The", "cat's", "café", "(", "3", ".", "5", ")"]
