import numpy as np
import pytest

from numformer import InputError, Tagger
from numformer.data.conll import TaggedSentence
from numformer.tasks.tagging import _tokens_of
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, SubwordTokenizer

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 32, "dropout": 0.0, "vocab_size": 600}
FAST = {"lr": 1e-2, "batch_size": 8, "shards": 1, "progress": False}
SUFFIXES = {"ing": "VERB", "ly": "ADV", "ness": "NOUN"}


def made_up(rng):
    return "".join(rng.choice(list("bdklmprst")) + rng.choice(list("aiou")) for _ in range(rng.integers(1, 3)))


def by_suffix(count=60, seed=0, length=7):
    """Return sentences of made-up words, whose suffix decides the tag."""
    rng, sentences = np.random.default_rng(seed), []
    for _ in range(count):
        suffixes = rng.choice(list(SUFFIXES), rng.integers(1, length))
        sentences.append(
            TaggedSentence([made_up(rng) + s for s in suffixes], [SUFFIXES[s] for s in suffixes])
        )  # fmt: skip
    return sentences


def accuracy_on(task, sentences):
    found = task.predict([sentence.words for sentence in sentences])
    return np.mean(
        [a == b for f, s in zip(found, sentences, strict=True) for a, b in zip(f["tags"], s.tags, strict=True)]
    )


@pytest.fixture(scope="module")
def tagger():
    task = Tagger.from_data(by_suffix(), valid_fraction=0.2, **SMALL)
    task.fit(steps=80, **FAST)
    return task


@pytest.fixture(scope="module")
def finder():
    """A tagger of entities: a place is NEW and a capital, a name is a lone capital."""
    sentences = [
        TaggedSentence(["in", "New", "York", "."], ["O", "B-LOC", "I-LOC", "O"]),
        TaggedSentence(["Ann", "met", "Bob"], ["B-PER", "O", "B-PER"]),
        TaggedSentence(["Bob", "left", "New", "Delhi"], ["B-PER", "O", "B-LOC", "I-LOC"]),
    ]
    task = Tagger.from_data(sentences * 4, valid_fraction=0.0, **SMALL)
    task.fit(steps=80, **FAST)
    return task


def test_words_never_seen_are_tagged_by_their_suffix(tagger):
    seen = {word for sentence in tagger.train_data for word in sentence.words}
    unseen = [
        TaggedSentence([word], [tag])
        for s in by_suffix(60, seed=1) for word, tag in zip(s.words, s.tags, strict=True) if word not in seen
    ]  # fmt: skip
    assert len(unseen) > 50
    assert accuracy_on(tagger, unseen) > 0.95
    assert tagger.evaluate()["accuracy"] == 1.0


@pytest.mark.parametrize("tokenizer", ["bpe", "wordpiece", "unigram", "characters", "bytes"])
def test_a_word_of_several_tokens_has_one_tag(tokenizer):
    sentences = [TaggedSentence(["a.b", "b c", "éx", "don't"], ["X", "Y", "X", "Y"])] * 4
    task = Tagger.from_data(sentences, tokenizer=tokenizer, valid_fraction=0.0, **SMALL)
    task.fit(steps=60, **FAST)
    (found,) = task.predict([sentences[0].words])
    assert found["words"] == sentences[0].words
    assert found["tags"] == sentences[0].tags
    assert len(found["scores"]) == 4
    assert task.evaluate(sentences)["words"] == 16


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "unigram", "characters"])
def test_training_targets_the_first_token_of_every_word_and_no_other(tokenizer):
    sentence = TaggedSentence(["don't", "a", "🚋x", "1999"], ["P", "Q", "R", "S"])
    task = Tagger.from_data([sentence] * 3, tokenizer=tokenizer, valid_fraction=0.0, **SMALL)
    ((tokens, targets),) = task._encoded([sentence])
    assert len(tokens) == len(targets)
    assert targets[targets >= 0].tolist() == [0, 1, 2, 3]
    if tokenizer != "words":
        spans = task.tokenizer.encode_spans("don't a 🚋x 1999")[1]
        assert spans[targets >= 0, 0].tolist() == [0, 6, 8, 11]


ODD = ["\u200b", "e\u0301x", "日本", "\u00ad", "🚋", "<bos>", "a" * 50]


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "wordpiece", "unigram", "characters", "bytes"])
def test_words_with_odd_characters_have_a_tag_each(tokenizer):
    task = Tagger.from_data(by_suffix(20), tokenizer=tokenizer, **SMALL)
    (found,) = task.predict([ODD])
    assert found["words"] == ODD
    assert len(found["tags"]) == len(found["scores"]) == len(ODD)
    assert set(found["tags"]) <= set(task.model.labels)
    assert task.evaluate([TaggedSentence(ODD, ["ADV"] * len(ODD))])["words"] == len(ODD)


def test_words_may_hold_spaces_and_tokens_still_belong_to_theirs():
    words = ["New York", " x", "y ", "z"]
    for tokenizer in (CharacterTokenizer.from_text("New York xyz"), ByteTokenizer()):
        tokens, first = _tokens_of(tokenizer, words)
        assert len(tokens) == len(" ".join(words))
        assert first.tolist() == [0, 9, 12, 15]
    bpe = SubwordTokenizer.train("bpe", "New York x y z", 300)
    tokens, first = _tokens_of(bpe, words)
    starts = bpe.encode_spans(" ".join(words))[1][first, 0]
    assert starts.tolist() == [0, 10, 12, 15]


def test_a_sentence_longer_than_the_context_has_a_tag_for_every_word(tagger):
    (long,) = by_suffix(1, seed=5, length=2)
    long = TaggedSentence(long.words * 100, long.tags * 100)
    (found,) = tagger.predict([long.words])
    assert found["tags"] == long.tags
    assert tagger.evaluate([long])["words"] == 100


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "characters"])
def test_a_long_sentence_is_tagged_as_its_pieces_are(tokenizer):
    sentence = TaggedSentence([f"{made_up(np.random.default_rng(i))}ly" for i in range(40)], ["ADV", "X"] * 20)
    small = SMALL | {"max_seq_len": 8}
    task = Tagger.from_data([sentence] * 2, tokenizer=tokenizer, valid_fraction=0.0, **small)
    pieces = task._encoded([sentence])
    assert all(len(tokens) <= 8 for tokens, _ in pieces)
    targets = np.concatenate([targets for _, targets in pieces])
    assert targets[targets >= 0].tolist() == [0, 1] * 20
    task.fit(steps=2, **FAST)
    (found,) = task.predict([sentence.words])
    assert len(found["tags"]) == 40
    tokens, first = _tokens_of(task.tokenizer, sentence.words)
    parts = [task.model(tokens[None, at : at + 8]).data[0] for at in range(0, len(tokens), 8)]
    chances = np.exp(logits := np.concatenate(parts)) / np.exp(logits).sum(-1, keepdims=True)
    assert found["scores"] == pytest.approx(chances[first].max(-1), rel=1e-4)


def test_a_text_is_split_into_words_as_the_tokenizer_does(tagger):
    (found,) = tagger.predict(["A cat's tail, wagging."])
    assert found["words"] == ["A", "cat's", "tail", ",", "wagging", "."]


def test_an_empty_sentence_has_no_tags(tagger):
    nothing = {"words": [], "tags": [], "scores": []}
    assert tagger.predict(["", [], "  "]) == [nothing] * 3
    assert tagger.predict([]) == []
    assert tagger.predict([[], ["doing"]])[1]["tags"] == ["VERB"]
    assert tagger.evaluate([TaggedSentence([], []), TaggedSentence(["doing"], ["VERB"])])["words"] == 1


def test_an_empty_sentence_is_no_harm_in_training():
    task = Tagger.from_data([*by_suffix(10), TaggedSentence([], [])], valid_fraction=0.0, **SMALL)
    assert np.isfinite(task.fit(steps=3, **FAST).loss)


def test_results_come_in_the_order_of_the_sentences_and_as_each_alone(tagger):
    sentences = [sentence.words for sentence in by_suffix(40, seed=6)]
    together = tagger.predict(sentences)
    assert [found["words"] for found in together] == sentences
    for found, sentence in zip(together, sentences, strict=True):
        (alone,) = tagger.predict([sentence])
        assert found["tags"] == alone["tags"]
        assert found["scores"] == pytest.approx(alone["scores"], rel=1e-4)


def test_entities_are_put_together(finder):
    (found,) = finder.predict([["Ann", "left", "New", "York"]])
    assert found["tags"] == ["B-PER", "O", "B-LOC", "I-LOC"]
    assert found["entities"] == [
        {"type": "PER", "text": "Ann", "start": 0, "end": 1},
        {"type": "LOC", "text": "New York", "start": 2, "end": 4},
    ]


def test_entities_are_scored_as_wholes(finder):
    pytest.importorskip("seqeval")
    scores = finder.evaluate(
        [
            TaggedSentence(["Ann", "left", "New", "York"], ["B-PER", "O", "B-LOC", "B-LOC"]),  # New York is two places
            TaggedSentence(["Bob", "left", "."], ["B-PER", "O", "O"]),
        ]
    )
    assert scores["accuracy"] == pytest.approx(6 / 7)
    assert (scores["sentences"], scores["words"]) == (2, 7)
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 4)
    assert scores["f1"] == pytest.approx(4 / 7)
    assert scores["types"]["LOC"]["f1"] == 0.0


def test_tags_that_are_no_entities_have_neither_entities_nor_f1(tagger):
    assert "entities" not in tagger.predict(["doing"])[0]
    assert set(tagger.evaluate()) == {"loss", "accuracy", "sentences", "words"}


def test_the_loss_is_the_mean_over_words(tagger):
    sentences = [TaggedSentence(["making", "softly"], ["VERB", "NOUN"]), TaggedSentence(["doing"], ["VERB"])]
    rows = tagger._probabilities([sentence.words for sentence in sentences], False)
    verb, noun = (tagger.model.labels.index(tag) for tag in ("VERB", "NOUN"))
    losses = -np.log([rows[0][0, verb], rows[0][1, noun], rows[1][0, verb]])
    scores = tagger.evaluate(sentences)
    assert scores["loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    np.testing.assert_allclose([row.sum() for row in np.concatenate(rows)], 1.0)


def test_the_validation_of_a_run_is_the_evaluation_of_its_held_out_sentences():
    task = Tagger.from_data(by_suffix(), tokenizer="characters", valid_fraction=0.2, **SMALL | {"max_seq_len": 16})
    result = task.fit(steps=5, eval_every=5, **FAST)
    scores = task.evaluate()
    assert scores["loss"] == pytest.approx(result.val_loss, rel=1e-5)
    assert scores["accuracy"] == pytest.approx(result.best["accuracy"])


def test_a_tagger_learns_from_a_file(tmp_path):
    rows = "".join("".join(f"{w}\t{t}\n" for w, t in zip(s.words, s.tags, strict=True)) + "\n" for s in by_suffix(10))
    (tmp_path / "train.conll").write_text(rows)
    task = Tagger.from_data(tmp_path / "train.conll", valid_fraction=0.0, **SMALL)
    assert task.train_data == by_suffix(10)
    assert task.evaluate(tmp_path / "train.conll")["sentences"] == 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda task: task.evaluate([TaggedSentence(["a"], ["X"])]),
            "the tag 'X' is not among those of the model: ADV,",
        ),
        (lambda task: task.evaluate([]), "no held-out examples"),
        (lambda task: task.evaluate([TaggedSentence([], [])]), "no word to evaluate on"),
        (lambda task: task.predict("doing"), "a list of texts"),
        (
            lambda task: Tagger.from_data([(["a"], ["X"])]),
            r"example 0 is \(\['a'\], \['X'\]\), expected a TaggedSentence",
        ),
        (lambda task: task.evaluate([TaggedSentence(["a", "b"], ["ADV"])]), "example 0 is .*a tag for every word"),
        (
            lambda task: Tagger.from_data([TaggedSentence([], [])] * 3, valid_fraction=0.0).fit(steps=1),
            "at least one label",
        ),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(tagger, make, message):
    with pytest.raises(InputError, match=message) as caught:
        make(tagger)
    assert "\n" not in str(caught.value)
