import copy
import json
import pickle
import re
import sys
from functools import cache
from itertools import accumulate, groupby
from unicodedata import category

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numformer.errors import InputError
from numformer.tokenizers import Tokenizer, WordTokenizer, encode_text, load_tokenizer
from numformer.tokenizers.words import word_characters, word_pattern

TEXTS = ["The cat sat, the dog sat.", "The dog's cat sat; a zebra ran."]
any_word = st.text(st.characters(exclude_categories=()))  # lone surrogates too


@pytest.fixture
def tokenizer():
    return WordTokenizer(["the", "cat", "The", "sat"], num_buckets=64)


def test_the_most_frequent_words_are_kept_and_ties_go_by_alphabet():
    trained = WordTokenizer.train(TEXTS, 5 + 4 + 8, num_buckets=8)
    assert trained.vocabulary == ["sat", ".", "The", "cat"]
    assert WordTokenizer.train(reversed(TEXTS), 5 + 4 + 8, num_buckets=8).vocabulary == trained.vocabulary


@pytest.mark.parametrize(("min_count", "size"), [(1, 12), (2, 4), (3, 1), (4, 0)])
def test_rare_words_are_left_to_their_features(min_count, size):
    assert len(WordTokenizer.train(TEXTS, 1000, min_count=min_count).vocabulary) == size


def test_lists_of_words_are_taken_as_they_are():
    assert WordTokenizer.train([["New York", "<pad>"], ["New York", "<pad>"]], 1000).vocabulary == ["New York"]


@pytest.mark.parametrize(("vocab_size", "buckets"), [(20_000, 8192), (16_384, 8192), (1000, 256)])
def test_buckets_are_a_power_of_two_up_to_half_of_the_vocabulary(vocab_size, buckets):
    assert WordTokenizer.train(TEXTS, vocab_size).num_buckets == buckets


@pytest.mark.parametrize(("vocab_size", "buckets", "taken"), [(7, None, 2), (69, 64, 64)])
def test_a_vocabulary_without_room_for_words_is_refused(vocab_size, buckets, taken):
    with pytest.raises(InputError, match=f"={vocab_size}, expected more than 5 special tokens and {taken} buckets"):
        WordTokenizer.train(TEXTS, vocab_size, num_buckets=buckets)


def test_the_vocabulary_counts_special_tokens_words_and_buckets(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.vocab_size == 5 + 4 + 64
    special = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.mask_id]
    assert special == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("words", [["a", "b", "a"], ["a", "<pad>"]])
def test_words_must_be_distinct_from_each_other_and_from_special_tokens(words):
    with pytest.raises(InputError, match="word tokenizer needs distinct words"):
        WordTokenizer(words)


def test_there_must_be_a_bucket():
    with pytest.raises(InputError, match="num_buckets=0, expected at least 1"):
        WordTokenizer(["a"], 0)


def test_a_text_is_words_and_single_punctuation_characters(tokenizer):
    text = "Don’t stop: l'été_2 costs 3.5€..."
    words = tokenizer.words(text)
    assert [word for word, *_ in words] == ["Don’t", "stop", ":", "l'été_2", "costs", "3", ".", "5", "€", ".", ".", "."]
    assert all(text[start:end] == word for word, start, end in words)


def test_words_become_their_ids_and_unknown_ones_the_unknown_token(tokenizer):
    ids = encode_text(tokenizer, "The cat sat! <pad>")
    assert ids.tolist() == [7, 6, 8, 3, 3, 3, 3]
    assert ids.dtype == np.uint8


def test_decoding_joins_known_words_and_leaves_out_the_rest(tokenizer):
    assert tokenizer.decode([1, 7, 6, 3, 8, 9, 72, 2]) == "The cat sat"
    with pytest.raises(InputError, match="token id 73 is outside the vocabulary of 73 ids"):
        tokenizer.decode([73])


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=40))
def test_known_words_survive_a_round_trip(text):
    tokenizer = WordTokenizer.train([text], 1000, min_count=1)
    assert tokenizer.decode(tokenizer.encode(text)) == " ".join(word for word, *_ in tokenizer.words(text))


@settings(derandomize=True, deadline=None)
@given(st.lists(any_word))
def test_any_word_has_eleven_features_inside_the_vocabulary(words):
    tokenizer = WordTokenizer(["the"], num_buckets=64)
    features = tokenizer.features(words)
    assert features.shape == (len(words), WordTokenizer.NUM_FEATURES)
    assert np.isin(features[:, 0], [3, 5]).all()
    assert (features[:, 1:3] >= 6).all()
    assert ((features[:, 3:] == 0) | (features[:, 3:] >= 6)).all()
    assert (features < tokenizer.vocab_size).all()


def test_features_are_the_same_in_every_process_and_release(tokenizer):
    assert tokenizer.features(["cat", "Bee-2"]).tolist() == [
        [6, 55, 66, 39, 31, 46, 0, 35, 71, 21, 0, 48, 71, 22, 45],
        [3, 42, 57, 9, 53, 13, 34, 72, 27, 27, 36, 64, 9, 27, 24],
    ]


def shared(first, second):
    """Return which features two words have in common, each alone, in a table too large for chance."""
    tokenizer = WordTokenizer(["the"], num_buckets=1 << 20)
    one, other = (tokenizer.features([word])[0, : NEIGHBOURS[0]] for word in (first, second))
    return np.flatnonzero((one == other) & (one >= 6)).tolist()


LOWER, SHAPE, PREFIXES, SUFFIXES = 1, 2, [3, 4, 5, 6], [7, 8, 9, 10]
NEIGHBOURS = [11, 12, 13, 14]


def test_a_word_knows_its_neighbours():
    tokenizer = WordTokenizer(["the"], num_buckets=1 << 20)
    first, alone = tokenizer.features(["old", "cat", "sat"])[1], tokenizer.features(["cat"])[0]
    other = tokenizer.features(["OLD", "cat", "mat"])[1]
    assert np.flatnonzero(first != alone).tolist() == NEIGHBOURS
    assert np.flatnonzero(first != other).tolist() == NEIGHBOURS[2:]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("ZEBRA", "Zebra", [LOWER, PREFIXES[0]]),
        ("running", "jumping", [SHAPE, *SUFFIXES[:3]]),
        ("McDonald", "AbCd", [SHAPE, SUFFIXES[0]]),
        ("Covid-19", "Xy-2020", [SHAPE]),
        ("unhappy", "unheard", [SHAPE, *PREFIXES[:3]]),
        ("ab", "abc", [SHAPE, *PREFIXES[:2]]),
        ("x", "X", [LOWER]),
    ],
)
def test_words_that_look_alike_share_features(first, second, expected):
    assert shared(first, second) == expected


def test_places_of_affixes_longer_than_the_word_are_padding(tokenizer):
    features = tokenizer.features(["ab"])[0]
    assert (features[[5, 6, 9, 10]] == 0).all()
    assert (features[[3, 4, 7, 8]] >= 9).all()


def test_no_words_have_no_features(tokenizer):
    assert tokenizer.features([]).shape == (0, 15)


def test_a_saved_tokenizer_is_read_back(tmp_path):
    original = WordTokenizer.train([*TEXTS, *TEXTS, "\ud800 \ud800"], 300)
    original.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, WordTokenizer)
    assert (loaded.vocabulary, loaded.num_buckets) == (original.vocabulary, original.num_buckets)
    assert (loaded.features(["cat", "unseen"]) == original.features(["cat", "unseen"])).all()


def test_the_tokenizers_library_reads_a_text_as_the_same_words(tmp_path):
    library = pytest.importorskip("tokenizers")
    ours = WordTokenizer.train(TEXTS, 300)
    ours.save(tmp_path)
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*TEXTS, "a zebra's  café?!\n", ""]:
        assert theirs.encode(text).ids == ours.encode(text).tolist()


@pytest.mark.parametrize(
    ("vocab", "num_buckets"),
    [
        ({"a": 0, "b": 2}, 8),
        ({"a": 0}, 8),
        ({}, 8),
        ({name: i for i, name in enumerate(WordTokenizer.SPECIAL_TOKENS)}, 0),
    ],
)
def test_a_damaged_vocabulary_is_refused_by_name(vocab, num_buckets, tmp_path):
    content = WordTokenizer(["a"], 8).to_json()
    content["model"] |= {"vocab": vocab, "num_buckets": num_buckets}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"vocabulary of the tokenizer .*tokenizer\.json is damaged"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("text", ["किताब पढ़ो, किताब!", "cafe\u0301 \u0301a", "שָׁלוֹם־עולם", "l'e\u0301te\u0301 d’un"])
def test_marks_belong_to_the_letters_they_stand_on(text, tmp_path):
    words = WordTokenizer(["a"]).words(text)
    library = pytest.importorskip("tokenizers", reason="needs the tokenizers library")
    WordTokenizer([word for word, *_ in dict.fromkeys(words)][:1]).save(tmp_path)
    read = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [span for _, span in read.pre_tokenizer.pre_tokenize_str(text)] == [tuple(span) for _, *span in words]


def test_words_with_marks_are_whole():
    assert [word for word, *_ in WordTokenizer(["a"]).words("किताब cafe\u0301")] == ["किताब", "cafe\u0301"]


EVERY = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]


def kind_of(character):
    """Return what a character is in our rule: part of a word, a space, or something that stands alone."""
    if character.isalnum() or character == "_" or category(character)[0] == "M":
        return "word"
    return "space" if character.isspace() else "alone"


@cache
def spans_of_runs(kind):
    """Return the spans of neighbours of one kind among all characters."""
    runs = [(each, len(list(group))) for each, group in groupby(map(kind_of, EVERY))]
    ends = list(accumulate(length for _, length in runs))
    return [(end - length, end) for (each, length), end in zip(runs, ends, strict=True) if each == kind]


@pytest.mark.parametrize(("kind", "number"), [("word", 0), ("space", 1)])
def test_every_character_is_of_the_same_kind_here_and_in_the_tokenizers_library(kind, number):
    library = pytest.importorskip("tokenizers")
    run, text, expected = f"[{word_characters()[number]}]+", "".join(EVERY), spans_of_runs(kind)
    assert word_characters()[number] in word_pattern()
    assert [match.span() for match in re.finditer(run, text)] == expected
    split = library.pre_tokenizers.Split(library.Regex(run), "removed", invert=True)
    assert [span for _, span in split.pre_tokenize_str(text)] == expected


def test_a_saved_tokenizer_splits_at_the_same_characters_in_the_tokenizers_library(tmp_path):
    """All characters whose kind is not that of the one before or after, each between two letters."""
    library = pytest.importorskip("tokenizers")
    ours = WordTokenizer(["a", "b"])
    ours.save(tmp_path)
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    places = {
        place + offset
        for span in spans_of_runs("word") + spans_of_runs("space")
        for place in span
        for offset in (-1, 0)
    }
    text = (
        " ".join(f"a{EVERY[place]}b" for place in sorted(places) if 0 <= place < len(EVERY)) + " ① x² a᪰b ‿ 葛\U000e0100"
    )
    assert [span for _, span in theirs.pre_tokenizer.pre_tokenize_str(text)] == [(a, b) for _, a, b in ours.words(text)]
    assert theirs.encode(text).ids == ours.encode(text).tolist()
    assert load_tokenizer(tmp_path).words(text) == ours.words(text)


def test_a_tokenizer_saved_by_the_version_before_is_read_with_the_words_it_had(tmp_path):
    content = WordTokenizer(["①", "x²"], 8).to_json()
    content["pre_tokenizer"]["pattern"]["Regex"] = r"\w+(?:['’]\w+)*|[^\w\s]"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, WordTokenizer)
    assert loaded.pattern == word_pattern()
    assert loaded.encode("① x² ②").tolist() == [5, 6, 3]


def test_the_words_of_a_saved_tokenizer_are_those_of_the_pattern_in_its_file(tmp_path):
    WordTokenizer(["ab"], 8, pattern="[a-c]+|[^ ]").save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert [word for word, *_ in loaded.words("abd cc")] == ["ab", "d", "cc"]
    assert loaded.encode("abd").tolist() == [5, 3]


def test_a_pattern_that_is_no_regular_expression_is_refused():
    with pytest.raises(InputError, match=r"^the pattern of a word tokenizer is no regular expression: unterminated"):
        WordTokenizer(["ab"], 8, pattern="[a")


def test_a_word_tokenizer_can_be_pickled_and_copied():
    original = WordTokenizer(["the", "cat"], 16, pattern="[a-z]+")
    for twin in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
        assert (twin.vocabulary, twin.num_buckets, twin.pattern) == (["the", "cat"], 16, "[a-z]+")
        assert (twin.features(["cat"]) == original.features(["cat"])).all()
