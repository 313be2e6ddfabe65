import json
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from numformer.errors import InputError
from numformer.tokenizers import SubwordTokenizer, Tokenizer, encode_all, load_tokenizer, token_dtype

library = pytest.importorskip("tokenizers")

KINDS = ["bpe", "wordpiece", "unigram"]
NAMES = {
    "bpe": ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>"],
    "wordpiece": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
    "unigram": ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>"],
}
# Every character that is a special token's name is in the alphabet, and the names themselves are among the words.
TEXTS = [
    "The cat sat on the mat, and the other cats sat on other mats.",
    "Ask <eos> about the café: naïve questions <unk> about 3 cats [SEP] [UNK] or 20 mats!",
    "Zebras quiz; judges vex. <pad> <bos> <mask> [PAD] [CLS] [MASK] 日本語 κόσμε",
    "the cats' café\n\nsat naïvely on the zebra's mat",
] * 3


@pytest.fixture(scope="module")
def trained():
    return {kind: SubwordTokenizer.train(kind, TEXTS, 330) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def tokenizer(trained, kind):
    return trained[kind]


def special_ids(tokenizer):
    return [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.mask_id]


def content_of(tokenizer, folder):
    tokenizer.save(folder)
    return json.loads((folder / "tokenizer.json").read_text())


def test_special_tokens_have_the_first_ids_and_the_names_of_their_kind(tokenizer, kind, tmp_path):
    assert isinstance(tokenizer, Tokenizer)
    assert special_ids(tokenizer) == [0, 1, 2, 3, 4]
    assert [token["content"] for token in content_of(tokenizer, tmp_path)["added_tokens"]] == NAMES[kind]


def test_a_vocabulary_is_no_larger_than_asked_for(tokenizer):
    assert 60 < tokenizer.vocab_size <= 330
    assert tokenizer.encode(TEXTS[0]).max() < tokenizer.vocab_size


def test_common_words_become_one_token(kind):
    tokenizer = SubwordTokenizer.train(kind, ["cat cats catty scat"] * 20, 300)
    assert len(tokenizer.encode("cat")) == 1


def test_a_text_in_place_of_a_list_of_texts_is_one_text(kind):
    assert SubwordTokenizer.train(kind, "cats", 300).encode("s").tolist() != [3]


@settings(derandomize=True, deadline=None)
@given(st.text())
@example(" leading,  double and trailing \r\n\n\t spaces ")
@example("<pad><eos> <|endoftext|>\0")
def test_any_text_survives_a_round_trip_through_bytes(trained, text):
    assert trained["bpe"].decode(trained["bpe"].encode(text)) == text


@settings(derandomize=True, deadline=None)
@given(st.text(sorted(set("".join(TEXTS)))))
def test_any_text_of_known_characters_survives_a_round_trip_through_unigram(trained, text):
    assert trained["unigram"].decode(trained["unigram"].encode(text)) == text


def test_wordpiece_joins_the_pieces_of_a_word(trained):
    tokenizer = trained["wordpiece"]
    assert tokenizer.decode(tokenizer.encode("The zebra  sat on the café")) == "The zebra sat on the café"


def test_case_is_kept_unless_asked_otherwise(kind):
    kept = SubwordTokenizer.train(kind, TEXTS, 330)
    lowered = SubwordTokenizer.train(kind, TEXTS, 330, lowercase=True)
    assert kept.decode(kept.encode("The cat")) == "The cat"
    assert lowered.decode(lowered.encode("The cat")) == "the cat"


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_unknown_characters_are_the_unknown_token(trained, kind):
    tokenizer = trained[kind]
    assert tokenizer.unk_id in tokenizer.encode("cat 🙂")
    assert tokenizer.unk_id not in tokenizer.encode("cat")


def test_bytes_need_no_unknown_token(trained):
    assert 3 not in trained["bpe"].encode("🙂 \0 \u0378")


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([*NAMES["bpe"], *NAMES["wordpiece"], "cat", "s"])).map(" ".join))
@example("<pad><bos><eos><unk><mask>")
@example("x<eos> [CLS]s")
def test_the_name_of_a_special_token_in_a_text_is_text(trained, text):
    for tokenizer in trained.values():
        assert not np.isin(tokenizer.encode(text), special_ids(tokenizer)).any()
        assert not np.isin(tokenizer.encode_spans(text)[0], special_ids(tokenizer)).any()
        assert not np.isin(tokenizer.encode_batch([text])[0], special_ids(tokenizer)).any()


def test_the_name_of_a_special_token_among_a_models_pieces_is_text_too():
    """In files of other origin the pieces are chosen with no regard to names: here `</s>` scores best."""
    pieces = [["<unk>", 0.0], ["</s>", 0.0], ["▁", -1.0], *([character, -2.0] for character in "</s>a")]
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {
        "version": "1.0",
        "added_tokens": [{"id": 1, "content": "</s>", **added}],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces},
    }
    tokenizer = SubwordTokenizer(json.dumps(content))
    assert tokenizer.eos_id == 1
    assert tokenizer.encode("a </s>a").tolist() == [7, 2, 3, 4, 5, 6, 7]
    assert tokenizer.decode([7, 1, 2, 7]) == "a a"


def test_names_of_special_tokens_stand_for_them_in_what_a_template_makes(tokenizer, kind):
    name, text = NAMES[kind][2], "the cats"
    plain = tokenizer.encode(f"{name}{text}{name}").tolist()
    assert tokenizer.encode_control(f"{name}{text}{name}").tolist() == [2, *tokenizer.encode(text), 2]
    assert tokenizer.encode_control(text).tolist() == tokenizer.encode(text).tolist()
    assert tokenizer.encode(f"{name}{text}{name}").tolist() == plain
    assert 2 not in plain
    with pytest.raises(InputError, match="half of a surrogate pair"):
        tokenizer.encode_control("a\ud800")


def test_given_ids_of_special_tokens_replace_those_found_by_name(tokenizer):
    given = SubwordTokenizer(tokenizer.content, {"eos_id": 7, "pad_id": 7})
    assert (given.eos_id, given.pad_id) == (7, 7)
    assert (given.bos_id, given.unk_id, given.mask_id) == (None, None, None)


def test_nothing_is_added_around_a_text_and_special_tokens_are_not_decoded(tokenizer):
    ids = tokenizer.encode("cat")
    assert not np.isin(ids, special_ids(tokenizer)).any()
    assert tokenizer.decode([1, *ids, 2, 0, 4, 3]) == "cat"
    assert tokenizer.encode("").shape == (0,)


def test_training_is_repeatable(kind):
    contents = {SubwordTokenizer.train(kind, iter(TEXTS), 300).content for _ in range(4)}
    assert len(contents) == 1


def test_training_is_quiet(kind, capfd):
    SubwordTokenizer.train(kind, TEXTS, 300)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("kind", "size"), [("bpe", 261), ("wordpiece", 10), ("unigram", 9)])
def test_a_vocabulary_too_small_for_the_alphabet_is_refused(kind, size):
    texts = ["ab abc", "ab"]
    assert SubwordTokenizer.train(kind, texts, size).vocab_size == size
    with pytest.raises(InputError, match=rf"vocab_size={size - 1}, but a {kind} tokenizer .* needs at least \d+: 5"):
        SubwordTokenizer.train(kind, texts, size - 1)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
@pytest.mark.parametrize("texts", [[], [""], ["\0"]])
def test_texts_without_a_character_are_refused(kind, texts):
    with pytest.raises(InputError, match=f"no text to train a {kind} tokenizer on"):
        SubwordTokenizer.train(kind, texts, 300)


def test_text_to_train_on_that_is_not_unicode_is_refused_with_its_place(kind):
    with pytest.raises(InputError, match=r"text 2 to train on has at position 1 the character '\\ud800'"):
        SubwordTokenizer.train(kind, ["abc", "a\ud800"], 300)


def test_another_kind_is_refused():
    with pytest.raises(InputError, match="kind 'words', expected bpe, wordpiece or unigram"):
        SubwordTokenizer.train("words", TEXTS, 300)


@pytest.mark.parametrize("encode", ["encode", "encode_spans", "encode_batch"])
def test_half_a_surrogate_pair_is_refused_by_name_and_position(tokenizer, encode):
    text = "a\ud83d" if encode != "encode_batch" else ["cat", "a\ud83d"]
    with pytest.raises(InputError, match=r"'\\ud83d' at position 1 is half of a surrogate pair"):
        getattr(tokenizer, encode)(text)


def test_ids_outside_the_vocabulary_are_refused(tokenizer):
    with pytest.raises(InputError, match="outside the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size])


def test_many_texts_at_once_give_the_ids_of_each(tokenizer):
    texts = [f"{text} {i} cats" for i, text in enumerate(TEXTS * 90)]  # more than one batch
    for batch, text in zip(encode_all(tokenizer, iter(texts)), texts, strict=True):
        assert batch.dtype == token_dtype(tokenizer.vocab_size)
        assert batch.tolist() == tokenizer.encode(text).tolist()


def test_a_saved_tokenizer_is_read_back(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    loaded.save(tmp_path / "again")
    assert isinstance(loaded, SubwordTokenizer)
    assert special_ids(loaded) == special_ids(tokenizer)
    for text in [*TEXTS, " <eos> 🙂"]:
        assert load_tokenizer(tmp_path / "again").encode(text).tolist() == tokenizer.encode(text).tolist()


def test_saving_does_not_add_to_the_file(tokenizer, tmp_path):
    content = content_of(tokenizer, tmp_path / "first")
    assert content_of(load_tokenizer(tmp_path / "first"), tmp_path / "second") == content


def test_the_tokenizers_library_gives_the_same_ids(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ["the café, naïve cats", "  two\nlines ", "日本語 🙂"]:
        assert theirs.encode(text).ids == tokenizer.encode(text).tolist()


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["<|endoftext|>"], [None, 0, 0, None, None]),
        (["<unk>", "<s>", "</s>"], [None, 1, 2, 0, None]),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], [0, 2, 3, 1, 4]),
        (["<s>", "<pad>", "</s>", "<unk>", "<mask>"], [1, 0, 2, 3, 4]),
        (["<|begin_of_text|>", "<|end_of_text|>"], [None, 0, 1, None, None]),
        (["<pad>", "</s>", "<unk>"], [0, None, 1, 2, None]),
    ],
)
def test_special_tokens_are_found_by_the_names_of_well_known_models(names, ids, tmp_path):
    theirs = library.Tokenizer(library.models.BPE())
    theirs.add_special_tokens(names)
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert special_ids(load_tokenizer(tmp_path)) == ids


def test_padding_truncation_and_added_tokens_of_a_file_are_left_aside(trained, tmp_path):
    content = content_of(trained["wordpiece"], tmp_path)
    theirs = library.Tokenizer.from_str(json.dumps(content))
    theirs.enable_truncation(2)
    theirs.enable_padding(length=9)
    theirs.post_processor = library.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert theirs.encode("the cats sat").ids != trained["wordpiece"].encode("the cats sat").tolist()
    loaded = load_tokenizer(tmp_path)
    assert loaded.encode("the cats sat").tolist() == trained["wordpiece"].encode("the cats sat").tolist()
    assert loaded.encode_batch(["cat", ""])[1].tolist() == []


def test_a_vocabulary_that_leaves_ids_out_counts_up_to_the_largest():
    content = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 9}, "unk_token": "a"}}
    assert SubwordTokenizer(json.dumps(content)).vocab_size == 10


def test_an_empty_vocabulary_is_refused():
    content = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": "a"}}
    with pytest.raises(InputError, match="empty vocabulary"):
        SubwordTokenizer(json.dumps(content))


def test_a_text_that_a_model_has_no_token_for_is_refused():
    content = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<unk>"}}
    with pytest.raises(InputError, match="this text cannot be encoded: WordLevel error"):
        SubwordTokenizer(json.dumps(content)).encode("b")


def test_a_missing_library_is_named_with_the_extra_that_installs_it(trained, tmp_path, monkeypatch):
    trained["bpe"].save(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for action in (lambda: load_tokenizer(tmp_path), lambda: SubwordTokenizer.train("bpe", TEXTS, 300)):
        with pytest.raises(InputError, match=r"need the package tokenizers: pip install 'numformer\[subwords\]'"):
            action()


UNSPACED = "我们喝茶 ラーメン ที่นี่ hello"


def test_wordpieces_never_reach_across_letters_of_a_script_without_spaces_and_are_put_together_without_spaces(tmp_path):
    tokenizer = SubwordTokenizer.train("wordpiece", [UNSPACED] * 9, 300)
    ids = tokenizer.encode("我们喝茶hello ที่นี่x")
    assert [tokenizer.decode([i]) for i in ids[:5]] == [*"我们喝茶", "hello"]
    assert tokenizer.decode(ids[:7]) == "我们喝茶 hello ที่นี่"
    assert tokenizer.decode(tokenizer.encode("hello 我 hello")) == "hello 我 hello"
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.encode(UNSPACED).tolist() == tokenizer.encode(UNSPACED).tolist()
    assert loaded.decode(ids) == tokenizer.decode(ids)


def test_wordpieces_of_an_earlier_version_keep_the_words_that_they_had():
    tokenizer = SubwordTokenizer.train("wordpiece", [UNSPACED] * 9, 300)
    content = json.loads(tokenizer.content)
    content["pre_tokenizer"] = {"type": "BertPreTokenizer"}
    old = SubwordTokenizer(json.dumps(content))
    assert len(old.encode_spans("ラーメン")[1]) == 1, "the whole is one unknown word"
    assert len(tokenizer.encode_spans("ラーメン")[1]) == 4


TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[B]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"[B]": {"id": "[B]", "ids": [1, 2], "tokens": ["[B]", "[C]"]}},
}
BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
BERT = {"type": "BertProcessing", "sep": ["[C]", 2], "cls": ["[B]", 1]}
ROBERTA = BERT | {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": True}


@pytest.mark.parametrize(
    ("post_processor", "expected"),
    [
        (None, None),
        (TEMPLATE, ([1, 2], [])),
        (TEMPLATE | {"single": TEMPLATE["single"][::-1]}, ([], [1, 2])),
        (BYTES, ([], [])),
        (BERT, ([1], [2])),
        (ROBERTA, ([1], [2])),
        ({"type": "Sequence", "processors": [BYTES, TEMPLATE]}, ([1, 2], [])),
        ({"type": "Sequence", "processors": [BYTES]}, ([], [])),
    ],
)
def test_the_tokens_around_a_text_are_those_of_the_post_processor_and_encode_adds_none(post_processor, expected):
    """The vocabulary has one word and no unknown token, so no text but "x" can be encoded."""
    model = {"type": "WordLevel", "vocab": {"x": 0, "[B]": 1, "[C]": 2}, "unk_token": "[U]"}
    content = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    content |= {"pre_tokenizer": None, "post_processor": post_processor, "decoder": None, "model": model}
    tokenizer = SubwordTokenizer(json.dumps(content))
    before, after = expected or ([], [])
    assert (tokenizer.frame_ids, tokenizer.begin_ids) == (expected, before)
    assert tokenizer.encode("x").tolist() == [0]
    theirs = pytest.importorskip("tokenizers").Tokenizer.from_str(json.dumps(content)).encode("x").ids
    assert theirs == [*before, 0, *after]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_tokenizer_that_is_trained_here_begins_with_nothing(kind):
    assert SubwordTokenizer.train(kind, ["the cat sat on the mat"] * 5, 300).begin_ids == []
