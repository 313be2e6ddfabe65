import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numformer.errors import InputError
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, load_tokenizer
from numformer.tokenizers.subwords import SubwordTokenizer

TEXT = "To be, or not to be:\r\n\n  \tthat is\0 the question. Café 日本語 e\u0301 \u2028 𝄞 \x80\xad\xa0\x7f"


def saved(tokenizer, folder):
    tokenizer.save(folder)
    return folder / "tokenizer.json"


def test_a_character_tokenizer_is_read_back(tmp_path):
    CharacterTokenizer("zaé\n\ud800").save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, CharacterTokenizer)
    assert loaded.characters == "zaé\n\ud800"


def test_a_byte_tokenizer_is_read_back(tmp_path):
    ByteTokenizer().save(tmp_path / "new" / "words.json")
    assert isinstance(load_tokenizer(tmp_path / "new" / "words.json"), ByteTokenizer)


def test_special_tokens_of_characters_are_read_back(tmp_path):
    CharacterTokenizer("zaé\n\ud800", special_tokens=True).save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, CharacterTokenizer)
    assert (loaded.characters, loaded.pad_id, loaded.mask_id) == ("zaé\n\ud800", 5, 9)


@pytest.fixture(params=["characters", "characters and special tokens", "bytes"])
def tokenizer(request):
    if request.param == "bytes":
        return ByteTokenizer()
    return CharacterTokenizer.from_text(TEXT, special_tokens=request.param != "characters")


def test_the_tokenizers_library_gives_the_same_ids_and_text(tokenizer, tmp_path):
    library = pytest.importorskip("tokenizers")
    theirs = library.Tokenizer.from_file(str(saved(tokenizer, tmp_path)))
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    for text in [TEXT, TEXT[::-1], " a", ""]:
        ids = tokenizer.encode(text) if set(text) <= set(TEXT) else []
        assert theirs.encode(text).ids == list(ids)
        assert theirs.decode(list(ids)) == text


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_the_tokenizers_library_reads_any_text_as_the_same_bytes(text):
    library = pytest.importorskip("tokenizers")
    theirs = library.Tokenizer.from_str(json.dumps(ByteTokenizer().to_json()))
    theirs.encode_special_tokens = True  # the name of a special token in a text is text
    assert theirs.encode(text).ids == ByteTokenizer().encode(text).tolist()


def test_the_tokenizers_library_knows_the_special_tokens(tmp_path):
    library = pytest.importorskip("tokenizers")
    theirs = library.Tokenizer.from_file(str(saved(ByteTokenizer(), tmp_path)))
    names = ["<|pad|>", "<|bos|>", "<|eos|>", "<|unk|>"]
    assert [theirs.token_to_id(name) for name in names] == [256, 257, 258, 259]
    assert theirs.decode([257, 97, 258]) == "a"


def test_the_tokenizers_library_reads_unknown_characters_as_the_same_token(tmp_path):
    library = pytest.importorskip("tokenizers")
    tokenizer = CharacterTokenizer("ab", special_tokens=True)
    theirs = library.Tokenizer.from_file(str(saved(tokenizer, tmp_path)))
    assert theirs.encode("aжb").ids == tokenizer.encode("aжb").tolist() == [0, 5, 1]
    assert theirs.decode([0, 5, 2, 1]) == "ab"


def test_a_file_rewritten_by_the_tokenizers_library_is_still_read(tokenizer, tmp_path):
    library = pytest.importorskip("tokenizers")
    file = saved(tokenizer, tmp_path)
    library.Tokenizer.from_file(str(file)).save(str(file))
    assert load_tokenizer(file).encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()


def test_a_truncated_file_is_refused_by_name(tokenizer, tmp_path):
    file = saved(tokenizer, tmp_path)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"tokenizer\.json is not valid JSON"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"model": []}', '{"model": {"type": "Unigram"}}'])
def test_another_kind_of_file_is_refused_with_the_kinds_that_are_read(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json is of a kind that cannot be read: character and byte"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 100_000])
def test_a_file_that_json_cannot_read_is_refused(content, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match="is not valid JSON"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "vocab", [{}, {"a": 0, "b": 2}, {"a": 0, "b": 0}, {"a": 0, "bc": 1}, {"a": 0, "b": "1"}, {"a": 0, "b": None}]
)
def test_a_damaged_character_vocabulary_is_refused_by_name(vocab, tmp_path):
    content = CharacterTokenizer("ab").to_json()
    content["model"]["vocab"] = vocab
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"vocabulary of the tokenizer .*tokenizer\.json is damaged"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("vocab", [{"a": 0, "b": 1}, {"<pad>": 0, "a": 1}, {"a": 0, "bc": 1}])
def test_a_damaged_vocabulary_with_special_tokens_is_refused_by_name(vocab, tmp_path):
    content = CharacterTokenizer("ab", special_tokens=True).to_json()
    content["model"]["vocab"] = vocab
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"vocabulary of the tokenizer .*tokenizer\.json is damaged"):
        load_tokenizer(tmp_path)


def test_a_byte_tokenizer_with_merges_is_not_taken_for_ours(tmp_path):
    content = ByteTokenizer().to_json()
    content["model"]["merges"] = [["a", "b"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="of a kind that cannot be read"):
        load_tokenizer(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"could not read the tokenizer .*tokenizer\.json: No such file"):
        load_tokenizer(tmp_path)


def test_a_subword_tokenizer_that_was_loaded_is_saved_in_the_same_bytes(tmp_path):
    pytest.importorskip("tokenizers")
    SubwordTokenizer.train("bpe", ["ann sees the café"], 300).save(tmp_path / "first")
    load_tokenizer(tmp_path / "first").save(tmp_path / "again")
    first, again = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("first", "again"))
    assert first == again
