import numpy as np
import pytest

from numformer.errors import InputError
from numformer.tokenizers import ByteTokenizer, Tokenizer, encode_text, save_tokenizer


class Words:
    """A user's own tokenizer: no base class, lists for ids, no save."""

    vocab_size = 300

    def __init__(self, ids):
        self.ids = ids

    def encode(self, text):
        return self.ids

    def decode(self, ids):
        return " ".join(map(str, ids))


def test_a_tokenizer_needs_no_base_class():
    assert isinstance(Words([]), Tokenizer)


@pytest.mark.parametrize("ids", [[], [0, 299], np.array([299, 0], np.int64)])
def test_ids_become_the_smallest_array_that_fits(ids):
    encoded = encode_text(Words(ids), "text")
    assert encoded.dtype == np.uint16
    assert encoded.tolist() == list(ids)


@pytest.mark.parametrize("bad", [300, -1])
def test_ids_outside_a_custom_vocabulary_are_refused_rather_than_wrapped(bad):
    with pytest.raises(InputError, match=f"token id {bad} is outside the vocabulary of 300 ids"):
        encode_text(Words([1, bad]), "text")


def test_saving_a_tokenizer_that_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(InputError, match=r"a Words cannot be saved in .*: it has no save\(path\) method"):
        save_tokenizer(Words([]), tmp_path)


def test_saving_uses_the_tokenizers_own_method(tmp_path):
    save_tokenizer(ByteTokenizer(), tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
