from pathlib import Path

import pytest

from numformer.errors import InputError
from numformer.tokenizers import KINDS, ByteTokenizer, Tokenizer, make_tokenizer

TEXTS = ["the cat sat on the mat"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_a_tokenizer_with_all_special_tokens(kind, tmp_path):
    if kind in ("bpe", "wordpiece", "unigram"):
        pytest.importorskip("tokenizers")
    tokenizer = make_tokenizer(kind, iter(TEXTS), 300)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.vocab_size <= 300
    special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.mask_id}
    assert special <= set(range(tokenizer.vocab_size))
    assert tokenizer.decode(tokenizer.encode("the cat")) == "the cat"


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_of_every_kind_is_read_from_its_folder_or_file(kind, tmp_path):
    if kind in ("bpe", "wordpiece", "unigram"):
        pytest.importorskip("tokenizers")
    made = make_tokenizer(kind, TEXTS, 300)
    made.save(tmp_path)
    for path in (tmp_path, str(tmp_path), tmp_path / "tokenizer.json"):
        loaded = make_tokenizer(path, [], 0)
        assert type(loaded) is type(made)
        assert loaded.encode("the cat mat").tolist() == made.encode("the cat mat").tolist()
        assert loaded.mask_id == made.mask_id


def test_an_object_is_returned_as_it_is():
    tokenizer = ByteTokenizer()
    assert make_tokenizer(tokenizer, [], 0) is tokenizer


@pytest.mark.parametrize("kind", ["bpee", "runs/none", Path("bytes"), "x" * 5000, "\0"])
def test_anything_else_is_refused_with_the_kinds_there_are(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected characters, bytes, bpe, wordpiece, unigram, words, or the folder"):
        make_tokenizer(kind, TEXTS, 300)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(InputError, match=r"could not read the tokenizer .*tokenizer\.json"):
        make_tokenizer(tmp_path, TEXTS, 300)
