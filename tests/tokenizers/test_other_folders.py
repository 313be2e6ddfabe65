"""Tokenizers of folders that others have made: older files, tokenizer_config.json, and the ids that Transformers gives."""

import json
import os
import pickle
from pathlib import Path

import pytest

from numformer import InputError
from numformer.tokenizers import load_tokenizer
from numformer.tokenizers.subwords import SubwordTokenizer

DATA = Path(os.environ.get("NUMFORMER_DATA", Path(__file__).parents[3] / "shared" / "data"))
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tokenizers.json").read_text(encoding="utf-8"))
FILES = {  # of the shared data, under the names that they have in a folder
    "gpt2": {"vocab.json": "tok/gpt2/encoder.json", "merges.txt": "tok/gpt2/vocab.bpe"},
    "bert": {"vocab.txt": "tok/bert/bert_base_uncased_vocab.txt"},
    "stories260K": {n: f"ckpt/stories260K/{n}" for n in ("tokenizer.json", "tokenizer_config.json")},
}
needs_data = pytest.mark.skipif(not (DATA / "tok").is_dir(), reason=f"there is no {DATA / 'tok'}")

VOCAB = {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "<s>": 4, "</s>": 5, "<|endoftext|>": 6}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "ab", "É", "e"]


@pytest.fixture
def gpt2(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps(VOCAB), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def bert(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return tmp_path


def configure(folder, name="tokenizer_config.json", **keys):
    (folder / name).write_text(json.dumps(keys))


def refused(folder, message):
    with pytest.raises(InputError, match=message) as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)


# The ids of Transformers


@needs_data
@pytest.mark.parametrize("name", FILES)
def test_awkward_strings_have_the_ids_that_transformers_gives(tmp_path, name):
    for there, here in FILES[name].items():
        (tmp_path / there).symlink_to(DATA / here)
    tokenizer = load_tokenizer(tmp_path)
    for text, ids in zip(GOLDEN["strings"], GOLDEN["ids"][name], strict=True):
        assert tokenizer.encode_control(text).tolist() == ids, text


@needs_data
@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_tokenizer_of_older_files_is_saved_as_tokenizer_json_with_the_same_ids(tmp_path, name):
    for there, here in FILES[name].items():
        (tmp_path / there).symlink_to(DATA / here)
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    for text in GOLDEN["strings"]:
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


# Older files


def test_names_of_special_tokens_in_a_text_stay_text(gpt2):
    tokenizer = load_tokenizer(gpt2)
    assert tokenizer.encode_control("ab<|endoftext|>").tolist() == [2, 6]
    assert 6 not in tokenizer.encode("ab<|endoftext|>")


def test_gpt2_ends_with_its_own_token_where_nothing_else_is_said(gpt2):
    (gpt2 / "vocab.json").write_text(json.dumps({"a": 0, "<|endoftext|>": 1}))
    (gpt2 / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = load_tokenizer(gpt2)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (1, 1, None)


def test_a_space_is_put_before_a_text_where_the_config_says_so(gpt2):
    assert load_tokenizer(gpt2).encode("ab").tolist() == [2]
    configure(gpt2, add_prefix_space=True)
    assert load_tokenizer(gpt2).encode("ab").tolist() == [3, 2]


def test_tokens_added_later_come_from_their_file_and_from_the_config(gpt2):
    configure(gpt2, "added_tokens.json", **{"<tool>": 7})
    configure(gpt2, added_tokens_decoder={"8": {"content": "<end>"}}, eos_token="<end>")
    tokenizer = load_tokenizer(gpt2)
    assert tokenizer.encode_control("a<tool>b<end>").tolist() == [0, 7, 1, 8]
    assert (tokenizer.eos_id, tokenizer.vocab_size) == (8, 9)


def test_bert_lowers_letters_unless_the_config_says_otherwise(bert):
    assert load_tokenizer(bert).encode("AB É").tolist() == [7, 9]
    configure(bert, do_lower_case=False)
    assert load_tokenizer(bert).encode("ab É AB").tolist() == [7, 8, 1]


def test_the_first_and_last_tokens_of_bert_are_its_cls_and_sep(bert):
    tokenizer = load_tokenizer(bert)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.mask_id) == (2, 3, 0, 4)


def test_a_vocabulary_with_the_line_ends_of_windows_is_the_same(bert):
    (bert / "vocab.txt").write_bytes("\r\n".join(PIECES).encode())
    assert load_tokenizer(bert).encode("ab").tolist() == [7]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.json", b"{", r"vocab\.json cannot be read as JSON"),
        ("vocab.json", b"[]", r"vocab\.json holds list"),
        ("vocab.json", b'{"a": "x"}', r"vocab\.json has 'x' as the id of 'a'"),
        ("vocab.json", b'{"a": -1}', r"vocab\.json has '-1' as the id of 'a'"),
        ("vocab.json", b'{"a": 1e400}', r"vocab\.json has 'inf' as the id of 'a'"),
        ("merges.txt", b"a b c\n", r"merges\.txt:1: got 'a b c', expected two tokens"),
        ("merges.txt", b"\xff\n", r"merges\.txt cannot be read"),
        ("merges.txt", b"x y\n", "kind that cannot be read"),
        ("added_tokens.json", b'{"<x>": "y"}', r"added_tokens\.json has 'y' as the id of '<x>'"),
        ("tokenizer_config.json", b"{", r"tokenizer_config\.json cannot be read as JSON"),
        ("tokenizer_config.json", b'{"eos_token": 3}', "eos_token must be a text, got '3'"),
        ("tokenizer_config.json", b'{"eos_token": {"content": []}}', "eos_token must be a text"),
        ("tokenizer_config.json", b'{"eos_token": {"a": 1}}', "eos_token must be a text"),
        (
            "tokenizer_config.json",
            b'{"tokenizer_class": "Qwen2Tokenizer"}',
            r"a Qwen2Tokenizer in vocab\.json and merges",
        ),
        ("chat_template.jinja", b"\xff", r"chat_template\.jinja cannot be read"),
    ],
)
def test_damaged_files_are_named(gpt2, file, content, message):
    (gpt2 / file).write_bytes(content)
    refused(gpt2, message)


@pytest.mark.parametrize("content", [b"a\nb\n", b"", b"\xff"])
def test_a_vocabulary_that_is_none_is_refused(bert, content):
    (bert / "vocab.txt").write_bytes(content)
    refused(bert, r"vocab\.txt (lacks \[UNK\], \[CLS\], \[SEP\]|cannot be read)")


@pytest.mark.parametrize("file", ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"])
def test_sentence_piece_alone_is_refused_with_the_way_to_convert_it(tmp_path, file):
    (tmp_path / file).write_bytes(b"\n\x0e\n\x05<unk>")
    refused(tmp_path, rf"{file} alone, a SentencePiece file.*save_pretrained\(folder\) writes the tokenizer\.json")


def test_a_folder_without_any_of_them_lacks_tokenizer_json(tmp_path):
    refused(tmp_path, r"could not read the tokenizer .*tokenizer\.json")


# What tokenizer_config.json says


def test_the_tokens_that_a_config_names_are_the_special_ones_and_there_are_no_others(gpt2):
    configure(gpt2, bos_token=None, eos_token={"content": "</s>"}, unk_token="<s>")
    tokenizer = load_tokenizer(gpt2)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id) == (None, 5, 4, None)


def test_an_older_map_of_special_tokens_counts_where_the_config_says_nothing(gpt2):
    configure(gpt2, "special_tokens_map.json", bos_token="<s>", eos_token="<s>")
    configure(gpt2, eos_token="</s>")
    tokenizer = load_tokenizer(gpt2)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (4, 5)


def test_a_token_that_the_vocabulary_lacks_is_left_out_and_said(gpt2, capsys):
    configure(gpt2, eos_token="</s>", pad_token="[PAD]")
    tokenizer = load_tokenizer(gpt2)
    assert tokenizer.pad_id is None
    said = "tokenizer_config.json: the pad_token '[PAD]' is not in the vocabulary, and left out\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("in_a_file", [False, True])
def test_the_template_of_chats_travels_with_the_tokenizer(gpt2, in_a_file):
    template = "{{ messages }}é"
    if in_a_file:
        (gpt2 / "chat_template.jinja").write_text(template, encoding="utf-8")
    else:
        configure(gpt2, chat_template=template)
    tokenizer = load_tokenizer(gpt2)
    assert tokenizer.chat_template == template
    tokenizer.save(gpt2 / "saved")
    assert load_tokenizer(gpt2 / "saved").chat_template == template


@pytest.mark.parametrize("config", [{"eos_token": "</s>"}, {}])
def test_a_tokenizer_saved_over_another_has_nothing_of_it(gpt2, config):
    folder = gpt2 / "saved"
    load_tokenizer(gpt2).save(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    configure(folder, "special_tokens_map.json", pad_token="<s>")
    SubwordTokenizer(load_tokenizer(gpt2).content, config=config).save(folder)
    again = load_tokenizer(folder)
    assert (again.chat_template, again.pad_id) == (None, None)


def test_of_several_templates_the_one_called_default_is_taken(gpt2):
    configure(gpt2, chat_template=[{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}])
    assert load_tokenizer(gpt2).chat_template == "d"
    configure(gpt2, chat_template=3)
    assert load_tokenizer(gpt2).chat_template is None


SPECIAL = ("pad_id", "bos_id", "eos_id", "unk_id", "mask_id")


@pytest.mark.parametrize("given", [{"config": {"eos_token": "a", "extra": 1}}, {"special": {"eos_id": 0}}])
def test_special_tokens_are_the_same_after_saving_and_after_travelling_to_another_process(gpt2, given):
    tokenizer = SubwordTokenizer(load_tokenizer(gpt2).content, **given)
    tokenizer.save(gpt2 / "saved")
    for again in (load_tokenizer(gpt2 / "saved"), pickle.loads(pickle.dumps(tokenizer))):
        assert [getattr(again, name) for name in SPECIAL] == [None, None, 0, None, None]
        assert again.config.get("extra") == tokenizer.config.get("extra")


def test_saving_over_another_tokenizer_leaves_nothing_of_its_config(gpt2):
    content = load_tokenizer(gpt2).content
    SubwordTokenizer(content, config={"eos_token": "a"}).save(gpt2 / "saved")
    SubwordTokenizer(content).save(gpt2 / "saved")
    assert sorted(path.name for path in (gpt2 / "saved").iterdir()) == ["tokenizer.json"]
