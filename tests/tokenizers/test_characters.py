import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numformer.errors import InputError
from numformer.tokenizers import CharacterTokenizer, Tokenizer

any_character = st.characters(exclude_categories=())  # lone surrogates too


@settings(derandomize=True, deadline=None)
@given(st.text(any_character, min_size=1))
def test_any_text_survives_a_round_trip(text):
    tokenizer = CharacterTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ids_number_the_sorted_distinct_characters():
    tokenizer = CharacterTokenizer.from_text("banana\n")
    assert tokenizer.characters == "\nabn"
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("nab").tolist() == [3, 1, 2]


def test_an_alphabet_keeps_the_order_it_is_given_in():
    assert CharacterTokenizer("zaé").encode("éza").tolist() == [2, 0, 1]


def test_chunks_and_whole_text_give_the_same_alphabet():
    assert (
        CharacterTokenizer.from_text(iter(["né", "", "ab"])).characters
        == CharacterTokenizer.from_text("néab").characters
    )


@pytest.mark.parametrize("unknown", ["!", "ж", "\U0010ffff", "\ud800", "\0"])
def test_an_unknown_character_is_named_with_its_position(unknown):
    tokenizer = CharacterTokenizer.from_text("abé")
    with pytest.raises(InputError) as caught:
        tokenizer.encode("ab" + unknown + "a!")
    assert f"{unknown!r} at position 2 is not among the 3 characters" in str(caught.value)


@pytest.mark.parametrize("ids", [[0, 3], [-1], np.array([200], np.uint8)])
def test_ids_outside_the_vocabulary_are_refused(ids):
    with pytest.raises(InputError, match="outside the vocabulary of 3 ids"):
        CharacterTokenizer("abc").decode(ids)


@pytest.mark.parametrize("ids", [[0.5], [[0, 1]], ["a"]])
def test_ids_that_are_not_a_flat_sequence_of_integers_are_refused(ids):
    with pytest.raises(InputError, match="flat sequence of integers"):
        CharacterTokenizer("abc").decode(ids)


def test_an_empty_text_is_an_empty_array():
    tokenizer = CharacterTokenizer("abc")
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(("size", "dtype"), [(256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)])
def test_ids_are_of_the_smallest_type_that_fits(size, dtype):
    tokenizer = CharacterTokenizer("".join(map(chr, range(0x10000, 0x10000 + size))))
    ids = tokenizer.encode(tokenizer.characters)
    assert ids.dtype == dtype
    assert ids[-1] == size - 1


@pytest.mark.parametrize("characters", ["", "aba"])
def test_an_alphabet_must_be_distinct_characters(characters):
    with pytest.raises(InputError, match="character tokenizer needs"):
        CharacterTokenizer(characters)


def test_there_are_no_special_tokens():
    tokenizer = CharacterTokenizer("ab")
    assert isinstance(tokenizer, Tokenizer)
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (None, None, None, None)
    assert tokenizer.mask_id is None


def test_special_tokens_follow_the_characters():
    tokenizer = CharacterTokenizer.from_text("banana", special_tokens=True)
    assert tokenizer.encode("nab").tolist() == [2, 0, 1]
    special = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.mask_id]
    assert special == [3, 4, 5, 6, 7]
    assert tokenizer.vocab_size == 8


@settings(derandomize=True, deadline=None)
@given(st.text(any_character))
def test_with_special_tokens_an_unknown_character_is_the_unknown_token(text):
    ids = CharacterTokenizer("abé", special_tokens=True).encode(text)
    assert ids.tolist() == ["abé".find(character) if character in "abé" else 6 for character in text]


def test_decoding_leaves_out_special_tokens():
    assert CharacterTokenizer("ab", special_tokens=True).decode([3, 0, 5, 1, 2, 4, 6]) == "ab"


def test_special_tokens_count_when_the_smallest_type_is_chosen():
    tokenizer = CharacterTokenizer("".join(map(chr, range(252))), special_tokens=True)
    assert tokenizer.encode("a?\U0010ffff").dtype == np.uint16


def test_the_name_of_a_special_token_in_a_text_is_text():
    tokenizer = CharacterTokenizer.from_text("<pad>", special_tokens=True)
    assert tokenizer.decode(tokenizer.encode("<pad>")) == "<pad>"
