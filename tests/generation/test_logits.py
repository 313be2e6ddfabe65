"""The rules that logits go through, one by one, in order, and with a function of the caller's own."""

import dataclasses

import numpy as np
import pytest

from numformer.errors import InputError
from numformer.generation import BeamConfig, SamplingConfig
from numformer.generation.logits import penalise_counts, process, processors_of

INF = np.inf
LOGITS = np.array([1.0, -2.0, 3.0, 0.5, -1.0], np.float32)


def ruled(ids, num_prompt=0, end_ids=(), own=(), logits=LOGITS, **settings):
    config = SamplingConfig(**settings)
    return process(processors_of(config, num_prompt, end_ids, 5, own), ids, logits).tolist()


def forbidden(ids, **settings):
    return [token for token, logit in enumerate(ruled(ids, **settings)) if logit == -INF]


def test_without_rules_logits_are_the_same_array():
    assert processors_of(SamplingConfig(), 3, [4], 5) == []
    assert process([], [1, 2], LOGITS) is LOGITS


def test_a_bias_is_added_to_the_logits_of_its_tokens():
    assert ruled([0], logit_bias={0: 2.0, 3: -0.5, 4: -INF}) == [3.0, -2.0, 3.0, 0.0, -INF]


def test_a_repetition_penalty_counts_a_token_once_and_those_of_the_prompt_too():
    assert ruled([0, 0, 1, 2], num_prompt=2, repetition_penalty=2.0) == [0.5, -4.0, 1.5, 0.5, -1.0]


def test_frequency_and_presence_count_what_was_written_and_not_the_prompt():
    assert ruled([4, 4, 0, 2, 2], num_prompt=2, frequency_penalty=0.5) == [0.5, -2.0, 2.0, 0.5, -1.0]
    assert ruled([4, 4, 0, 2, 2], num_prompt=2, presence_penalty=0.25) == [0.75, -2.0, 2.75, 0.5, -1.0]
    assert ruled([2, 2], frequency_penalty=0.5, presence_penalty=1.0) == [1.0, -2.0, 1.0, 0.5, -1.0]
    assert ruled([1, 2], num_prompt=2, frequency_penalty=9.0) == LOGITS.tolist()


def test_penalties_below_zero_favour_what_was_written():
    assert ruled([0], frequency_penalty=-1.0) == [2.0, -2.0, 3.0, 0.5, -1.0]


@pytest.mark.parametrize(
    ("size", "ids", "expected"),
    [
        (1, [0, 3, 3], [0, 3]),
        (2, [1, 2, 1, 3, 1], [2, 3]),
        (2, [1], []),
        (2, [0, 1], []),
        (2, [4, 4], [4]),
        (3, [1, 2, 3, 0, 1, 2], [3]),
        (3, [1, 2], []),
        (9, [1, 1, 1], []),
    ],
)
def test_no_ngram_comes_twice(size, ids, expected):
    assert forbidden(ids, no_repeat_ngram_size=size) == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([0], [3]), ([1], [2, 3]), ([0, 1], [2, 3]), ([1, 2], [0, 3]), ([2], [3]), ([2, 1], [2, 3])],
)
def test_a_bad_word_is_forbidden_where_it_would_be_complete(ids, expected):
    bad_words = ([3], [1, 2], [1, 2, 0])
    assert forbidden([4, *ids], bad_words=bad_words) == expected


def test_a_bad_word_at_the_start_of_a_sequence_is_forbidden():
    assert forbidden([1, 2], bad_words=[[1, 2, 0]]) == [0]
    assert forbidden([2], bad_words=[[1, 2, 0]]) == []


def test_an_end_token_is_no_bad_word():
    assert forbidden([0], end_ids=[3], bad_words=[[3], [2]]) == [2]


def test_end_tokens_are_forbidden_until_enough_tokens_are_written():
    for new, expected in ((0, [1, 4]), (1, [1, 4]), (2, [])):
        assert forbidden([0] * (3 + new), num_prompt=3, end_ids=[1, 4], min_new_tokens=2) == expected
    assert forbidden([0], min_new_tokens=2) == []  # no token ends anything


def test_the_rules_come_in_the_order_of_transformers():
    """Bias before the repetition penalty, and both before a function of the caller's own, which hears what is forbidden."""
    heard = []

    def own(ids, logits):
        heard.append((ids.tolist(), logits.tolist()))
        return logits + 1

    settings = {"logit_bias": {0: 2.0}, "repetition_penalty": 2.0, "bad_words": [[2]], "presence_penalty": 0.5}
    assert ruled([0, 1], own=[own], **settings) == [2.0, -3.5, -INF, 1.5, 0.0]
    assert heard == [([0, 1], [1.0, -4.5, -INF, 0.5, -1.0])]


def test_logits_and_ids_that_are_given_stay_as_they_are():
    ids, before = [0, 1, 2], LOGITS.copy()

    def spoil(seen, logits):
        seen[:], logits[:] = 4, -INF
        return logits

    ruled(ids, own=[spoil], repetition_penalty=3.0, no_repeat_ngram_size=1, logit_bias={1: 3.0})
    np.testing.assert_array_equal(LOGITS, before)
    assert ids == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_logits_stays(dtype):
    config = SamplingConfig(repetition_penalty=1.3, frequency_penalty=0.1, logit_bias={2: 1.0}, no_repeat_ngram_size=2)
    own = [lambda ids, logits: logits.astype(np.float64)]
    assert process(processors_of(config, 0, (), 5, own), [0, 1, 0], LOGITS.astype(dtype)).dtype == dtype


def test_ids_that_may_not_be_chosen_are_no_matter():
    settings = {"repetition_penalty": 2.0, "no_repeat_ngram_size": 1, "frequency_penalty": 1.0}
    config = SamplingConfig(**settings, bad_words=[[4]], logit_bias={3: 1.0}, min_new_tokens=9)
    found = process(processors_of(config, 0, [4], 5), [3, 4, 0], LOGITS[:3])
    np.testing.assert_array_equal(found, [-INF, -2.0, 3.0])


def test_many_equal_tokens_are_counted_in_one_go():
    ids = np.array([0] * 500 + [1] * 3)
    found = penalise_counts(ids, LOGITS.copy(), first=0, each=0.01, once=0.5)
    np.testing.assert_allclose(found, [-4.5, -2.53, 3.0, 0.5, -1.0], rtol=1e-6)


@pytest.mark.parametrize("config", [SamplingConfig, BeamConfig])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repetition_penalty": 0.0}, "got repetition_penalty=0.0, expected a finite number above 0"),
        ({"frequency_penalty": "much"}, "frequency_penalty must be a number, got 'much'"),
        ({"presence_penalty": INF}, "got presence_penalty=inf, expected a finite number"),
        ({"no_repeat_ngram_size": -1}, "got no_repeat_ngram_size=-1, expected a whole number of at least 0"),
        ({"no_repeat_ngram_size": 2.5}, "got no_repeat_ngram_size=2.5, expected a whole number"),
        ({"min_new_tokens": -2}, "got min_new_tokens=-2, expected a whole number of at least 0"),
        ({"bad_words": "word"}, "got bad_words=word, expected a list of texts or lists of token ids"),
        ({"bad_words": ["a", ""]}, "expected a list of texts or lists of token ids, none of them empty"),
        ({"bad_words": [[1], []]}, "expected a list of texts or lists of token ids, none of them empty"),
        ({"bad_words": [3]}, "expected a list of texts or lists of token ids"),
        ({"bad_words": [[-3]]}, "expected a list of texts or lists of token ids"),
        ({"logit_bias": [1.0]}, r"got logit_bias=\[1.0\], expected finite numbers, or -inf, by token ids"),
        ({"logit_bias": {"a": 1.0}}, "expected finite numbers, or -inf, by token ids"),
        ({"logit_bias": {1: float("nan")}}, "expected finite numbers, or -inf, by token ids"),
        ({"logit_bias": {1: INF}}, "expected finite numbers, or -inf, by token ids"),
        (
            {"no_repeat_ngrams": 2},
            r"unknown setting no_repeat_ngrams; known are .*; did you mean no_repeat_ngram_size\?",
        ),
    ],
)
def test_settings_out_of_range_are_refused(config, settings, message):
    with pytest.raises(InputError, match=message):
        config(**settings)


@pytest.mark.parametrize(
    ("settings", "own", "message"),
    [
        ({"bad_words": ["word"]}, (), "the bad word 'word' is a text: give its token ids where there is no tokenizer"),
        ({"bad_words": [[1, 5]]}, (), "logit_bias and bad_words name the token 5, but the vocabulary has 5 tokens"),
        ({"logit_bias": {7: 1.0}}, (), "name the token 7, but the vocabulary has 5 tokens"),
        ({}, (3,), r"processors must be functions \(ids, logits\) -> logits, got \[3\]"),
    ],
)
def test_rules_that_do_not_fit_the_vocabulary_are_refused(settings, own, message):
    with pytest.raises(InputError, match=message):
        processors_of(SamplingConfig(**settings), 0, (), 5, own)


def test_a_function_that_returns_another_shape_is_refused():
    with pytest.raises(InputError, match=r"must return an array of shape \(5,\), got \(2,\)"):
        ruled([0], own=[lambda ids, logits: logits[:2]])


def test_words_of_hugging_face_mean_the_same():
    assert SamplingConfig(bad_words_ids=[[3]]) == SamplingConfig(bad_words=((3,),))
    assert BeamConfig(num_return_sequences=2) == BeamConfig(num_return=2)


def test_a_config_is_copied_with_its_rules():
    config = SamplingConfig(bad_words=["a", [3]], logit_bias={1: 2.0})
    assert dataclasses.replace(config, temperature=0.5).bad_words == ("a", (3,))
    assert dataclasses.replace(config, top_k=3).logit_bias == {1: 2.0}
