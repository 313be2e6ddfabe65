"""Writing text with a model: its folder's generation_config.json, its beginning token, searches, and words not written."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from numformer import BeamConfig, ByteTokenizer, InputError, LanguageModel, SamplingConfig, load
from numformer.generation import beam_search
from numformer.generation.words import with_word_ids
from numformer.tasks.shared.writing import WritingDefaults

TEXT = "the cat sat on the mat.\nthe dog sat on the hat.\n" * 30
SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 8}
STORIES = Path(os.environ.get("NUMFORMER_DATA", "../shared/data")) / "ckpt" / "stories260K"


@pytest.fixture
def lm(randomise):
    made = LanguageModel.from_text(TEXT, **SMALL)
    randomise(made.model)
    made.model.norm.weight.data *= 0.1  # so that many texts are likely
    made.model.norm.bias.data *= 0.1
    return made


@pytest.fixture
def folder(tmp_path, lm):
    """The folder of a model; called with the keys of a generation_config.json it has one."""

    def make(**keys):
        lm.save(tmp_path / "model")
        (tmp_path / "model" / "generation_config.json").write_text(json.dumps(keys))
        return tmp_path / "model"

    return make


@pytest.fixture(scope="module")
def expected():
    if not (STORIES / "expected.json").exists():
        pytest.skip(f"there is no {STORIES / 'expected.json'}: NUMFORMER_DATA names the folder of test data")
    return json.loads((STORIES / "expected.json").read_text())


# A trained model, and what transformers 5.23.0 writes with it


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("greedy", {}),
        ("greedy_from_bos", {}),
        ("beam4", {"num_beams": 4}),
        ("repetition_penalty_1_3", {"repetition_penalty": 1.3}),
    ],
)
def test_texts_are_those_of_transformers_with_what_the_folder_says(name, settings, expected):
    """The folder says that the most probable token is taken, and its tokenizer that a text has a beginning token."""
    prompt, ids = ("", [1]) if name == "greedy_from_bos" else (expected["prompt"], expected["prompt_ids"])
    pieces, num_new = [], len(expected[name]["ids"]) - len(ids)
    text = load(STORIES).generate(prompt, num_new, on_text=pieces.append, **settings)
    assert prompt + text == expected[name]["text"]
    assert "".join(pieces) == text


def test_a_beginning_token_is_what_the_post_processor_puts_before_a_text(expected):
    task = load(STORIES)
    assert task.tokenizer.begin_ids == [1]
    assert task.end_ids == (2,)
    (found,) = task.score([expected["prompt"]])
    assert len(found) == len(expected["prompt_ids"]) - 1


def test_the_folder_is_saved_with_the_same_generation_config(expected, tmp_path):
    load(STORIES).save(tmp_path)
    name = "generation_config.json"
    assert (tmp_path / name).read_bytes() == (STORIES / name).read_bytes()
    assert LanguageModel.load(tmp_path).defaults == LanguageModel.load(STORIES).defaults


# generation_config.json


def test_what_a_call_does_not_give_is_as_the_folder_says(folder, lm):
    task = load(folder(do_sample=True, temperature=0.5, top_k=3, repetition_penalty=1.2, transformers_version="5"))
    settings = {"temperature": 0.5, "top_k": 3, "repetition_penalty": 1.2}
    assert task.generate("the ", 20) == lm.generate("the ", 20, **settings)
    assert task.generate("the ", 20, top_k=0) == lm.generate("the ", 20, **settings | {"top_k": 0})
    assert task.generate("the ", 20, sampling=SamplingConfig()) == lm.generate("the ", 20)


def test_without_do_sample_the_most_probable_token_is_taken(folder, lm):
    assert load(folder(temperature=0.7)).generate("the ", 20) == lm.generate("the ", 20, temperature=0.0)


def test_a_folder_that_draws_and_says_no_more_draws_among_fifty_tokens_as_in_transformers(folder):
    defaults = load(folder(do_sample=True)).defaults
    assert (defaults.config({}).top_k, defaults.config({"top_k": 0}).top_k) == (50, 0)


def test_a_model_saved_over_another_does_not_write_as_that_one_did(folder, lm):
    path = folder(do_sample=True, eos_token_id=4)
    lm.save(path)
    assert load(path).defaults.settings == {}
    assert load(path).end_ids == lm.end_ids


def test_what_a_folder_asks_for_that_is_not_followed_is_said(folder, capsys):
    load(folder(min_length=0, typical_p=1.0, suppress_tokens=[], transformers_version="5"))
    assert "not followed" not in capsys.readouterr().err
    load(folder(min_length=5, forced_bos_token_id=0, typical_p=1.0))
    assert (
        "generation_config.json has min_length, forced_bos_token_id, which is not followed" in capsys.readouterr().err
    )


def test_a_folder_may_ask_for_a_search(folder, lm):
    task = load(folder(num_beams=3, length_penalty=0.5, early_stopping="never"))
    settings = {"num_beams": 3, "length_penalty": 0.5, "early_stopping": "never"}
    assert task.generate("the ", 12) == lm.generate("the ", 12, **settings)
    assert task.generate("the ", 12, num_beams=1, temperature=0.5) == lm.generate("the ", 12, temperature=0.5)


@pytest.mark.parametrize("several", [False, True])
def test_a_folder_names_one_end_token_or_several(several, folder, lm):
    free = lm.tokenizer.encode(lm.generate("the ", 200, seed=1)).tolist()
    given = [free[30], free[60]] if several else free[30]
    task = load(folder(eos_token_id=given, do_sample=True))
    assert task.end_ids == tuple(np.atleast_1d(given).tolist())
    stop = next(at for at, token in enumerate(free) if token in task.end_ids)
    assert task.generate("the ", 200, seed=1) == lm.tokenizer.decode(free[:stop])


def test_without_the_file_the_end_tokens_are_those_of_the_config_or_the_tokenizer(lm, tmp_path):
    lm.save(tmp_path)
    assert load(tmp_path).end_ids == ()
    keys = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(keys | {"eos_token_id": [4, 6]}))
    assert load(tmp_path).end_ids == (4, 6)
    assert LanguageModel.from_text(TEXT, tokenizer="bytes", **SMALL).end_ids == (ByteTokenizer().eos_id,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"do_sample": true, "temperature": -1}', r"generation_config\.json: got temperature=-1, expected a finite"),
        ('{"eos_token_id": "end"}', r"generation_config\.json: eos_token_id must be a token id or a list of them"),
        ('{"bad_words_ids": 3}', r"generation_config\.json: got bad_words=3, expected a list"),
        ("[1]", r"generation_config\.json holds list, expected a JSON object"),
        ("{", r"generation_config\.json cannot be read as JSON"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(content, message, folder):
    path = folder()
    (path / "generation_config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load(path)
    with pytest.raises(InputError, match=message):
        LanguageModel.load(path)


def test_a_folder_without_the_file_is_saved_without_it(lm, tmp_path):
    lm.save(tmp_path / "first")
    load(tmp_path / "first").save(tmp_path / "second")
    assert not (tmp_path / "second" / "generation_config.json").exists()
    assert load(tmp_path / "second").defaults == WritingDefaults()


# Searches


def test_a_search_returns_its_best_texts(lm):
    texts = lm.generate("the ", 9, num_beams=4, num_samples=3)
    (found,) = beam_search(
        lm.model,
        [lm.tokenizer.encode("the ")],
        9,
        BeamConfig(num_beams=4, num_return=3),
        vocab_size=lm.tokenizer.vocab_size,
    )
    assert texts == [lm.tokenizer.decode(hypothesis.ids) for hypothesis in found]
    assert lm.generate("the ", 9, beam=BeamConfig(num_beams=4)) == texts[0]
    assert lm.generate("the ", 0, num_beams=4) == ""


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_stop_string_ends_hypotheses_and_is_in_no_text(length, lm):
    free = lm.generate("the ", 30, num_beams=3, num_samples=3)
    stop = free[0][10 : 10 + length]
    stopped = lm.generate("the ", 30, num_beams=3, num_samples=3, stop=[stop])
    assert not any(stop in text for text in stopped)
    assert any(len(text) < 30 for text in stopped)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 3, "top_k": 2}, "top_k is for drawing tokens, not with num_beams=3"),
        ({"length_penalty": 2.0}, "length_penalty is for num_beams above 1"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"num_beams": 2, "num_samples": 3}, "num_return must be from 1 to num_beams=2, got 3"),
        ({"num_beams": 2, "early_stopping": "soon"}, "early_stopping must be True, False or \"never\", got 'soon'"),
        ({"sampling": SamplingConfig(), "top_k": 3}, "give sampling, beam or their fields, one of the three"),
        ({"beam": BeamConfig(), "sampling": SamplingConfig()}, "give sampling, beam or their fields"),
        ({"lenght_penalty": 2.0}, r"unknown setting lenght_penalty; known are .*; did you mean length_penalty\?"),
        ({"bad_words": ["é"]}, "the character 'é' at position 0 is not among"),
        ({"stop": "x", "num_beams": 2}, "expected a list of strings"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message, lm):
    with pytest.raises(InputError, match=message):
        lm.generate("the ", 3, **settings)


# Words


@pytest.mark.parametrize("settings", [{"temperature": 3.0}, {"num_beams": 3}], ids=["drawn", "searched"])
def test_bad_words_are_in_no_text(settings, lm):
    free = lm.generate("the ", 60, **settings)
    words = (free[5], free[20:22], free[40:43])
    text = lm.generate("the ", 60, bad_words=words, **settings)
    assert not any(word in text for word in words)


class Spaced:
    """A tokenizer that knows a word at the start of a text and after a space apart, as those of GPT-2 and Llama do."""

    vocab_size = 6
    TOKENS = ("cat", " cat", "s", "dog", " dog", " ")

    def encode(self, text):
        ids = []
        while text:
            ids.append(max((t for t in self.TOKENS if text.startswith(t)), key=len))
            text = text.removeprefix(ids[-1])
        return [self.TOKENS.index(token) for token in ids]

    def decode(self, ids):
        return "".join(self.TOKENS[i] for i in ids)


def test_a_word_is_known_at_the_start_of_a_text_and_after_a_space():
    found = with_word_ids(SamplingConfig(bad_words=["cat", "dogs", [2]]), Spaced())
    assert found.bad_words == ((0,), (1,), (3, 2), (4, 2), (2,))
    assert with_word_ids(BeamConfig(bad_words=["s"]), Spaced()).bad_words == ((2,),)


def test_a_word_without_tokens_is_refused():
    class Silent(Spaced):
        def encode(self, text):
            return []

    with pytest.raises(InputError, match="the bad word 'cat' has no tokens"):
        with_word_ids(SamplingConfig(bad_words=["cat"]), Silent())


# The beginning


def test_tokenizers_of_our_own_begin_with_nothing(tmp_path):
    task = LanguageModel.from_text(TEXT, tokenizer="bpe", **SMALL)
    assert task.tokenizer.begin_ids == []
    shutil.rmtree(tmp_path)
    task.save(tmp_path)
    assert load(tmp_path).tokenizer.begin_ids == []


def test_a_processor_hears_the_prompt_with_its_beginning(lm):
    lm.tokenizer.begin_ids = [3, 4]
    heard = []
    lm.generate("the ", 2, processors=[lambda ids, logits: heard.append(ids.tolist()) or logits])
    assert heard[0] == [3, 4, *lm.tokenizer.encode("the ")]
    lm.generate("", 1, processors=[lambda ids, logits: heard.append(ids.tolist()) or logits])
    assert heard[-1] == [3, 4]
