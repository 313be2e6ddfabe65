import numpy as np
import pytest

from numformer.errors import InputError
from numformer.tokenizers import ByteTokenizer, Tokenizer, encode_all, encode_text, save_tokenizer


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


def test_many_texts_are_encoded_one_by_one_unless_a_tokenizer_takes_them_together():
    class Batches(Words):
        def encode_batch(self, texts):
            return [[i, 299] for i, _ in enumerate(texts)]

    one_by_one = encode_all(Words([7]), iter(["a", "b"]))
    together = encode_all(Batches([7]), iter(["a", "b"]))
    assert [ids.tolist() for ids in one_by_one] == [[7], [7]]
    assert [ids.tolist() for ids in together] == [[0, 299], [1, 299]]
    assert {ids.dtype for ids in one_by_one + together} == {np.dtype(np.uint16)}


def test_ids_of_many_texts_are_checked_too():
    with pytest.raises(InputError, match="token id 300 is outside"):
        encode_all(Words([300]), ["text"])


def test_saving_a_tokenizer_that_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(InputError, match=r"a Words cannot be saved in .*: it has no save\(path\) method"):
        save_tokenizer(Words([]), tmp_path)


def test_saving_uses_the_tokenizers_own_method(tmp_path):
    save_tokenizer(ByteTokenizer(), tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
