import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from numformer.errors import InputError
from numformer.tokenizers import ByteTokenizer, Tokenizer

tokenizer = ByteTokenizer()


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_unicode_survives_a_round_trip(text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(derandomize=True, deadline=None)
@given(st.binary())
@example(b"\xff\xfe\x80caf\xe9\xed\xa0\x80")
def test_invalid_utf8_survives_a_round_trip(data):
    text = tokenizer.decode(tokenizer.encode(data))
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == data


def test_every_byte_is_its_own_id():
    ids = tokenizer.encode(bytes(range(256)))
    assert ids.tolist() == list(range(256))
    assert ids.dtype == np.uint16


def test_special_ids_lie_above_the_bytes_and_inside_the_vocabulary():
    special = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id]
    assert special == [256, 257, 258, 259]
    assert tokenizer.mask_id == 259
    assert tokenizer.vocab_size == 260
    assert isinstance(tokenizer, Tokenizer)


def test_decoding_leaves_out_special_tokens():
    assert tokenizer.decode([257, 195, 256, 169, 259, 258]) == "é"


def test_bytes_that_are_not_utf8_can_be_shown_as_replacements():
    assert tokenizer.decode([97, 255], errors="replace") == "a\ufffd"


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(InputError, match="token id 260 is outside the vocabulary of 260 ids"):
        tokenizer.decode([97, 260])


def test_half_a_surrogate_pair_is_refused_by_name_and_position():
    with pytest.raises(InputError, match=r"'\\ud83d' at position 1 is half of a surrogate pair"):
        tokenizer.encode("a\ud83d")
