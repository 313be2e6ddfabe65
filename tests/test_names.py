"""Words for tasks and settings, and the one sentence about misspelt ones."""

import dataclasses
import inspect
import pickle

import pytest

from numformer import InputError
from numformer._names import (
    SETTING_OF_WORD,
    TASK_OF_WORD,
    TASK_WORDS,
    check_settings,
    rename_settings,
    setting_name,
    takes_synonyms,
    task_name,
)
from numformer.cli.main import COMMANDS

WORDS = {
    "lm": ["lm", "text-generation"],
    "mlm": ["mlm", "fill-mask"],
    "seq2seq": ["seq2seq", "generation", "translation", "text2text-generation"],
    "summarise": ["summarise", "summarization", "summarisation"],
    "classify": ["classify", "classification", "text-classification", "sequence_classification"],
    "tag": ["tag", "tagging", "sequence_labeling", "sequence-labelling", "token-classification", "ner"],
    "qa": ["qa", "question_answering", "question-answering"],
    "regress": ["regress", "regression"],
}


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in WORDS.items() for word in words])
def test_every_word_for_a_task_gives_the_name_of_the_command(name, word):
    assert task_name(word) == task_name(word.replace("-", "_")) == name


def test_the_tasks_are_those_of_the_command_line():
    commands = {name.removeprefix("train ") for name in COMMANDS if name.startswith("train ")}
    assert commands <= set(TASK_WORDS)


def test_no_word_means_two_tasks():
    assert len(TASK_OF_WORD) == sum(1 + len(words) for words in TASK_WORDS.values())


@pytest.mark.parametrize("word", ["poetry", "", None])
def test_an_unknown_task_is_named_with_the_known_ones(word):
    with pytest.raises(
        InputError, match=f"unknown task {word!r}: choose lm, mlm, seq2seq, summarise, classify, tag, qa"
    ):
        task_name(word)


def test_a_setting_has_one_name_and_some_words_that_mean_it():
    assert setting_name("max_len") == "max_seq_len"
    assert setting_name("max_seq_len") == "max_seq_len"
    assert setting_name("warmth") == "warmth"
    assert not set(SETTING_OF_WORD) & set(SETTING_OF_WORD.values())


@takes_synonyms
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes."""

    d_model: int = 4
    max_seq_len: int = 8


@takes_synonyms
def measure(first, /, d_model=4, *, labels=2):
    """Measure."""
    return first, d_model, labels


@takes_synonyms
def pass_on(max_seq_len=1, **settings):
    return max_seq_len, settings


class Layer:
    """A layer."""

    @takes_synonyms
    def __init__(self, d_model, max_seq_len=8):
        self.sizes = d_model, max_seq_len


def test_functions_and_constructors_take_synonyms():
    assert Sizes(hidden_size=6, max_len=3) == Sizes(d_model=6, max_seq_len=3)
    assert Sizes() == Sizes(d_model=4, max_seq_len=8)
    assert measure(1, hidden_size=2, num_labels=3) == (1, 2, 3)
    assert Layer(2, max_len=3).sizes == Layer(hidden_size=2, max_seq_len=3).sizes == (2, 3)
    assert pass_on(max_len=3, hidden_size=2) == (3, {"hidden_size": 2})


def test_what_takes_synonyms_stays_what_it_was():
    assert list(inspect.signature(Sizes).parameters) == ["d_model", "max_seq_len"]
    assert dataclasses.replace(Sizes(max_len=3), d_model=1) == Sizes(d_model=1, max_seq_len=3)
    assert pickle.loads(pickle.dumps(Sizes(max_len=3))) == Sizes(max_len=3)
    assert (measure.__name__, measure.__doc__) == ("measure", "Measure.")


def test_a_setting_under_two_words_is_refused():
    with pytest.raises(InputError, match="max_seq_len and max_len are the same setting: give one of them"):
        Sizes(max_seq_len=3, max_len=3)
    with pytest.raises(InputError, match="max_len and max_position_embeddings are the same setting"):
        Sizes(max_len=3, max_position_embeddings=3)


def test_a_word_that_a_function_has_of_its_own_keeps_its_meaning():
    assert rename_settings({"hidden_size": 1}, {"hidden_size", "d_model"}) == {"hidden_size": 1}


def test_a_misspelt_keyword_is_the_same_error_everywhere():
    sentence = r"unknown setting d_modle; known are d_model, max_seq_len; did you mean d_model\?$"
    for make in (Sizes, Layer):
        with pytest.raises(InputError, match=sentence):
            make(d_modle=3)
    with pytest.raises(InputError, match=sentence):
        check_settings({"d_modle": 3}, {"max_seq_len", "d_model"})
    with pytest.raises(InputError, match=r"unknown setting num_labels, tempo; known are d_model, max_seq_len$"):
        Sizes(num_labels=3, tempo=1)
    check_settings({"d_model": 3}, ["d_model"])
    with pytest.raises(InputError, match=r"unknown setting d_modle; known are none$"):
        check_settings({"d_modle": 3}, [])
