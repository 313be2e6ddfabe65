import json
import os
from pathlib import Path

import numpy as np
import pytest

from numformer import InputError
from numformer.pretrained.gguf_file import Metadata
from numformer.pretrained.gguf_tokenizer import adds_bos, read_tokenizer
from numformer.pretrained.pre_tokenizers import GPT2, PRE_TOKENIZERS, name_of, to_json
from numformer.tokenizers import SubwordTokenizer
from numformer.tokenizers.tokenizer_json import tokenizers_library

DATA = Path(os.environ.get("NUMFORMER_DATA", "../shared/data"))
AWKWARD = [
    "",
    " ",
    "Hello, world!",
    "  leading spaces and\ttabs\n\nnew lines ",
    "café naïve 日本語 🙂👩‍👩‍👧",
    "def f(x):\n    return x**2 + 3.14159",
    "don't you'll I'm HE'S",
    "12345 67890 1,000,000",
    "<s> </s> <0x41> ▁",
]


def data_file(*parts):
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"there is no {path}: NUMFORMER_DATA names the folder of test data")
    return path


def as_read(entries, **changes):
    """Return metadata as they are read of a file: numbers are arrays there."""
    entries = entries | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return Metadata(
        (key, np.array(value) if isinstance(value, list) and isinstance(value[0], int) else value)
        for key, value in entries.items()
    )


# Pre-tokenizers


def words(name, text):
    """Return what a pre-tokenizer makes of a text, spaces as they were."""
    library = tokenizers_library()
    tokenizer = library.Tokenizer(library.models.BPE())
    content = json.loads(tokenizer.to_str()) | {"pre_tokenizer": to_json(PRE_TOKENIZERS[name].patterns)}
    pre_tokenizer = library.Tokenizer.from_str(json.dumps(content)).pre_tokenizer
    return [text[start:end] for _, (start, end) in pre_tokenizer.pre_tokenize_str(text)]


TEXT = "I'LL say 'it's' 12345 times!?\n\n  (x)"
CUTS = {
    "gpt-2": "I|'|LL| say| '|it|'s|'| 12345| times|!?|\n\n | (|x|)",
    "smollm": "I|'|LL| say| '|it|'s|'| |1|2|3|4|5| times|!?|\n\n | (|x|)",
    "llama-bpe": "I|'LL| say| '|it|'s|'| |123|45| times|!?\n\n| | (|x|)",
    "qwen2": "I|'LL| say| '|it|'s|'| |1|2|3|4|5| times|!?\n\n| | (|x|)",
    "default": "I|'|LL| say| |'|it|'|s|'| |123|45| times|!?|\n\n  |(|x|)",
    "falcon": "I|'|LL| say| |'|it|'|s|'| |123|45| times|!?|\n\n  |(|x|)",
}


@pytest.mark.parametrize("name", CUTS)
def test_a_pre_tokenizer_cuts_as_its_name_says(name):
    assert "|".join(words(name, TEXT)) == CUTS[name]


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_a_pre_tokenizer_is_known_again(name):
    each = PRE_TOKENIZERS[name]
    again = name_of(to_json(each.patterns), ignores_merges=each.ignores_merges, composes=each.composes)
    assert PRE_TOKENIZERS[again][:3] == each[:3]


def test_other_spellings_of_a_pre_tokenizer_are_known():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    assert name_of(byte_level) == "gpt-2"
    assert name_of({"type": "Sequence", "pretokenizers": [digits, byte_level]}) == "smollm"
    assert name_of(to_json(PRE_TOKENIZERS["qwen2"].patterns)) == "stablelm2"
    assert name_of(byte_level, composes=True) is None
    assert name_of(byte_level | {"add_prefix_space": True}) is None
    assert name_of({"type": "Whitespace"}) is None
    assert name_of({"type": "Sequence", "pretokenizers": to_json([GPT2])["pretokenizers"][:1]}) is None
    assert name_of(None) is None


# Byte-pair encoding as GPT-2 has it


def test_texts_become_the_ids_of_the_tokenizer_that_was_written(files):
    found = read_tokenizer(as_read(files.vocabulary), files.num_tokens)
    for text in AWKWARD:
        assert found.encode(text).tolist() == files.tokenizer.encode(text).tolist()
        assert found.decode(found.encode(text)) == text


def test_the_real_gpt2_vocabulary_gives_the_ids_of_gpt2():
    vocab = json.loads(data_file("tok", "gpt2", "encoder.json").read_text())
    merges = data_file("tok", "gpt2", "vocab.bpe").read_text().splitlines()[1:]
    tokens = sorted(vocab, key=vocab.get)
    entries = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens}
    found = read_tokenizer(Metadata(entries | {"tokenizer.ggml.merges": [each for each in merges if each]}), 50257)
    assert found.encode("Hello world, it's 2024!").tolist() == [15496, 995, 11, 340, 338, 48609, 0]
    assert found.encode(" leading  spaces").tolist() == [3756, 220, 9029]


def test_special_tokens_stand_for_themselves_in_a_prompt_alone(files):
    found = read_tokenizer(as_read(files.vocabulary), files.num_tokens)
    text = "<bos>cat<eos>"
    assert found.encode_control(text).tolist() == [1, *found.encode("cat"), 2]
    assert (found.encode(text) > 4).all()
    assert found.decode(found.encode(text)) == text


def test_tokens_of_the_user_stand_for_themselves_everywhere(files):
    kinds = [4 if number == 4 else kind for number, kind in enumerate(files.vocabulary["tokenizer.ggml.token_type"])]
    found = read_tokenizer(as_read(files.vocabulary, token_type=kinds), files.num_tokens)
    assert found.encode("a<mask>").tolist() == [*found.encode("a"), 4]
    assert found.decode([4]) == "<mask>"


def test_special_tokens_are_those_that_the_file_names(files):
    found = read_tokenizer(as_read(files.vocabulary, eos_token_id=7), files.num_tokens)
    assert (found.pad_id, found.bos_id, found.eos_id, found.unk_id, found.mask_id) == (0, 1, 7, 3, None)


def test_accents_are_composed_where_the_name_says_so(files):
    plain, qwen = (read_tokenizer(as_read(files.vocabulary, pre=name), files.num_tokens) for name in ("gpt-2", "qwen2"))
    decomposed = "cafe\u0301"
    assert plain.decode(plain.encode(decomposed)) == decomposed
    assert qwen.decode(qwen.encode(decomposed)) == "café"


def test_a_word_that_is_a_token_stays_whole_where_merges_are_ignored(files):
    tokens = [*files.vocabulary["tokenizer.ggml.tokens"], "catsat"]
    kinds = [*files.vocabulary["tokenizer.ggml.token_type"], 1]
    found = {
        name: read_tokenizer(as_read(files.vocabulary, tokens=tokens, token_type=kinds, pre=name), len(tokens))
        for name in ("gpt-2", "llama-bpe")
    }
    assert found["llama-bpe"].encode("catsat").tolist() == [len(tokens) - 1]
    assert len(found["gpt-2"].encode("catsat")) > 1


# A BOS token before every text


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"model": "gpt2"}, False),
        ({"model": "gpt2", "pre": "llama-bpe"}, True),
        ({"model": "llama"}, True),
        ({"model": "llama", "add_bos_token": False}, False),
        ({"model": "gpt2", "add_bos_token": True}, True),
    ],
)
def test_a_text_begins_with_bos_where_the_file_or_its_kind_says(entries, expected):
    assert adds_bos(Metadata({f"tokenizer.ggml.{key}": value for key, value in entries.items()})) is expected


def test_other_programs_learn_of_the_bos_token(files, tmp_path):
    found = read_tokenizer(as_read(files.vocabulary, add_bos_token=True), files.num_tokens)
    found.save(tmp_path)
    saved = tokenizers_library().Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert saved.encode("cat").ids == [1, *found.encode("cat")]


# Byte-pair encoding as SentencePiece has it


@pytest.fixture(scope="module")
def stories():
    return SubwordTokenizer(data_file("ckpt", "stories260K", "tokenizer.json").read_text())


@pytest.fixture(scope="module")
def stories_metadata(stories):
    """Return what a converter writes of it: the score of a piece is the lower, the later it was found."""
    model = json.loads(stories.content)["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    ranks = {}
    for left, right in model["merges"]:
        ranks.setdefault(left + right, len(ranks))
    return Metadata(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": np.array([-ranks.get(token, 0) for token in tokens], np.float32),
            "tokenizer.ggml.token_type": np.array([2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)], np.int32),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 0,
        }
    )


def test_sentencepiece_gives_the_ids_of_its_tokenizer_json(stories, stories_metadata):
    found = read_tokenizer(stories_metadata, 512)
    for text in [*AWKWARD, "Once upon a time, there was a little girl named Lily."]:
        assert found.encode(text).tolist() == stories.encode(text).tolist(), text
        assert found.encode_control(text).tolist() == stories.encode_control(text).tolist(), text
        assert found.decode(found.encode(text)) == stories.decode(stories.encode(text)) == text.replace("▁", " ")
    assert (found.encode("</s>") > 2).all()
    assert found.encode_control("</s>").tolist() == [2]


def test_no_space_is_put_before_a_text_where_the_file_says_so(stories_metadata):
    found = read_tokenizer(Metadata(stories_metadata | {"tokenizer.ggml.add_space_prefix": False}), 512)
    assert found.encode("a").tolist() != found.encode(" a").tolist()
    assert found.decode(found.encode(" a")) == " a"


def test_tokens_of_the_user_are_made_of_their_parts_too(stories_metadata):
    kinds = stories_metadata["tokenizer.ggml.token_type"].copy()
    kinds[stories_metadata["tokenizer.ggml.tokens"].index("▁the")] = 4  # as runs of spaces have it in Gemma's files
    found = read_tokenizer(Metadata(stories_metadata | {"tokenizer.ggml.token_type": kinds}), 512)
    assert found.encode("in the end").tolist() == read_tokenizer(stories_metadata, 512).encode("in the end").tolist()


def test_a_token_of_absurd_length_is_refused(stories_metadata):
    tokens = [*stories_metadata["tokenizer.ggml.tokens"][:-1], "a" * 100_000]
    with pytest.raises(InputError, match="a token of 100000 characters, supported are up to 1024"):
        read_tokenizer(Metadata(stories_metadata | {"tokenizer.ggml.tokens": tokens}), 512)


# WordPiece


def phantom(token):
    """Return a token of BERT as converters write it."""
    if token.startswith("[") and token.endswith("]"):
        return token
    return token[2:] if token.startswith("##") else "▁" + token


def test_wordpiece_gives_the_ids_of_bert():
    import tokenizers

    tokens = data_file("tok", "bert", "bert_base_uncased_vocab.txt").read_text().splitlines()
    kinds = [3 if token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") else 1 for token in tokens]
    entries = {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": [phantom(token) for token in tokens],
        "tokenizer.ggml.token_type": np.array(kinds),
        "tokenizer.ggml.unknown_token_id": tokens.index("[UNK]"),
        "tokenizer.ggml.cls_token_id": tokens.index("[CLS]"),
        "tokenizer.ggml.seperator_token_id": tokens.index("[SEP]"),
    }
    found = read_tokenizer(Metadata(entries), len(tokens))
    expected = tokenizers.BertWordPieceTokenizer({token: number for number, token in enumerate(tokens)})
    for text in [*AWKWARD, "Unbelievable! The CAFÉ's tokenisation [brackets]"]:
        assert found.encode(text).tolist() == expected.encode(text, add_special_tokens=False).ids, text
    assert (found.bos_id, found.eos_id) == (101, 102)


def test_a_vocabulary_with_capital_letters_keeps_them(files):
    _, metadata, _ = files.bert()
    lower = read_tokenizer(as_read(metadata), 12)
    assert lower.encode("The cats").tolist() == [4, 5, 6]
    tokens = ["▁The" if token == "▁b" else token for token in metadata["tokenizer.ggml.tokens"]]
    capital = read_tokenizer(as_read(metadata, tokens=tokens), 12)
    assert capital.encode("The the").tolist() == [9, 4]
