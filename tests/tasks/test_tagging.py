import numpy as np
import pytest

from numformer import InputError, Tagger
from numformer.data.tagged.conll import TaggedSentence
from numformer.tasks.tagging.objective import encode_sentences
from numformer.tasks.tagging.words import Words, tokens_of, words_of
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, SubwordTokenizer
from numformer.training import TrainConfig
from numformer.training.workers import Workers

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 32, "dropout": 0.0, "vocab_size": 600}
FAST = {"lr": 1e-2, "batch_size": 8, "shards": 1, "progress": False}
FAST_TRAIN = {"steps": 5, "batch_size": 8, "shards": 1}
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


def encoded(task, sentences):
    return encode_sentences(task.tokenizer, sentences, task.model.labels, task.model.config.max_seq_len)


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
    ((tokens, targets),) = encoded(task, [sentence])
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
        tokens, first = tokens_of(tokenizer, words)
        assert len(tokens) == len(" ".join(words))
        assert first.tolist() == [0, 9, 12, 15]
    bpe = SubwordTokenizer.train("bpe", "New York x y z", 300)
    tokens, first = tokens_of(bpe, words)
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
    pieces = encoded(task, [sentence])
    assert all(len(tokens) <= 8 for tokens, _ in pieces)
    targets = np.concatenate([targets for _, targets in pieces])
    assert targets[targets >= 0].tolist() == [0, 1] * 20
    task.fit(steps=2, **FAST)
    (found,) = task.predict([sentence.words])
    assert len(found["tags"]) == 40
    tokens, first = tokens_of(task.tokenizer, sentence.words)
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
        {"type": "PER", "text": "Ann", "start": 0, "end": 1, "start_char": 0, "end_char": 3},
        {"type": "LOC", "text": "New York", "start": 2, "end": 4, "start_char": 9, "end_char": 17},
    ]


def test_the_characters_of_an_entity_are_those_of_the_text(finder):
    text = "  Ann  left\tNew  York."
    (found,) = finder.predict([text])
    assert found["words"] == ["Ann", "left", "New", "York", "."]
    assert found["entities"] == [
        {"type": "PER", "text": "Ann", "start": 0, "end": 1, "start_char": 2, "end_char": 5},
        {"type": "LOC", "text": "New  York", "start": 2, "end": 4, "start_char": 12, "end_char": 21},
    ]
    assert [text[each["start_char"] : each["end_char"]] for each in found["entities"]] == ["Ann", "New  York"]


def test_words_that_are_given_stand_in_the_text_with_a_space_between(finder):
    (found,) = finder.predict([["Ann", "left", "New", "York"]])
    joined = "Ann left New York"
    assert [joined[each["start_char"] : each["end_char"]] for each in found["entities"]] == ["Ann", "New York"]


@pytest.mark.parametrize("tokenizer", ["words", "characters"])
def test_a_text_is_cut_into_pieces_that_are_its_words(tokenizer):
    task = Tagger.from_data(by_suffix(10), tokenizer=tokenizer, **SMALL)
    for text in ("A cat's tail, wagging.", " a\u00a0b\u2028c  ", ""):
        found = words_of(task.tokenizer, text)
        assert [text[start:end] for start, end in found.spans] == found.words
        assert "".join(found.words) == "".join(text.split())
    assert words_of(task.tokenizer, ["a b", "", "c"]) == Words("a b  c", ["a b", "", "c"], [(0, 3), (4, 4), (5, 6)])


def test_entities_are_scored_as_wholes(finder):
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
    assert result.best == {"loss": scores["loss"], "accuracy": scores["accuracy"]}


NAMES = [
    TaggedSentence(["Ann", "met", "Bob", "in", "New", "York"], ["B-PER", "O", "B-PER", "O", "B-LOC", "I-LOC"]),
    TaggedSentence(["Bob", "left", "New", "Delhi"], ["B-PER", "O", "B-LOC", "I-LOC"]),
]


def test_the_best_of_a_tagger_of_entities_is_by_f1_of_whole_sentences():
    task = Tagger.from_data(NAMES * 4, valid=NAMES, tokenizer="characters", **SMALL | {"max_seq_len": 5})
    assert len(encoded(task, NAMES)) > len(NAMES)  # an entity lies in several pieces
    objective = task.objective(TrainConfig(**FAST_TRAIN))
    assert objective.criterion == "f1"
    assert "2 held out" in objective.describe()
    result = task.fit(steps=150, eval_every=50, **FAST)
    scores = task.evaluate(NAMES)
    assert result.best["f1"] > 0.5
    assert result.best == {name: pytest.approx(scores[name]) for name in ("loss", "accuracy", "f1")}


def test_the_best_of_a_tagger_of_parts_of_speech_is_by_accuracy(tagger):
    objective = tagger.objective(TrainConfig(**FAST_TRAIN))
    assert (objective.criterion, objective.figures) == ("accuracy", ("loss", "accuracy"))


def test_so_many_held_out_sentences_are_measured_as_are_asked_for():
    task = Tagger.from_data(by_suffix(), valid=by_suffix(9, seed=2), **SMALL)
    with Workers(1) as workers:
        found = task.objective(TrainConfig(**FAST_TRAIN, eval_examples=3)).evaluate(workers)
    chosen = [by_suffix(9, seed=2)[number] for number in (0, 3, 6)]
    assert found["accuracy"] == task.evaluate(chosen)["accuracy"]


def test_held_out_sentences_without_a_word_measure_nothing():
    task = Tagger.from_data(by_suffix(5), valid=[TaggedSentence([], [])], **SMALL)
    with Workers(1) as workers:
        assert task.objective(TrainConfig(**FAST_TRAIN)).evaluate(workers) is None


# Tags that the model does not know


def test_a_tag_that_only_the_held_out_sentences_have_is_said_and_counts_as_wrong(capsys):
    valid = [TaggedSentence(["making", "softly", "zq"], ["VERB", "ADV", "X"])]
    task = Tagger.from_data(by_suffix(), valid=valid, **SMALL)
    result = task.fit(steps=60, eval_every=60, **FAST)
    said = "1 of 3 tags are unknown to the model and count as wrong: 'X' (1)\n"
    assert capsys.readouterr().err == said
    assert result.best["accuracy"] == pytest.approx(2 / 3)
    scores = task.evaluate(valid)
    assert result.best == {name: scores[name] for name in ("loss", "accuracy")}
    assert capsys.readouterr().err == said
    rows = task._probabilities([valid[0].words], False)[0]
    verb, adverb = (task.model.labels.index(tag) for tag in ("VERB", "ADV"))
    assert scores["loss"] == pytest.approx(-np.log([rows[0, verb], rows[1, adverb]]).mean())
    assert scores["accuracy"] == pytest.approx(2 / 3)


def test_an_entity_of_an_unknown_type_is_one_that_was_missed(finder, capsys):
    scores = finder.evaluate([TaggedSentence(["Ann", "left", "."], ["B-PER", "B-ORG", "O"])])
    assert "'B-ORG' (1)" in capsys.readouterr().err
    assert scores["recall"] == 0.5
    assert scores["types"]["ORG"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


def test_a_file_with_an_unknown_tag_is_read_and_measured(tagger, tmp_path, capsys):
    (tmp_path / "test.conll").write_text("doing\tVERB\nsoftly\tX\n")
    assert tagger.evaluate(tmp_path / "test.conll")["accuracy"] == 0.5
    assert "1 of 2 tags are unknown to the model and count as wrong: 'X' (1)" in capsys.readouterr().err


# Schemes


SCHEMES = {
    "BIO": ["B-LOC", "I-LOC", "I-LOC", "O", "B-PER", "B-PER", "O"],
    "IOB1": ["I-LOC", "I-LOC", "I-LOC", "O", "I-PER", "B-PER", "O"],
    "IOBES": ["B-LOC", "I-LOC", "E-LOC", "O", "S-PER", "S-PER", "O"],
    "BILOU": ["B-LOC", "I-LOC", "L-LOC", "O", "U-PER", "U-PER", "O"],
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_gives_entities_and_f1(scheme, tmp_path, capsys):
    words = ["San", "Juan", "Sur", "for", "Ann", "Bob", "."]
    rows = "".join(f"{word} {tag}\n" for word, tag in zip(words, SCHEMES[scheme], strict=True))
    (tmp_path / "train.conll").write_text((rows + "\n") * 4)
    task = Tagger.from_data(tmp_path / "train.conll", valid_fraction=0.0, **SMALL)
    assert f"; entities in {scheme}\n" in capsys.readouterr().err
    task.fit(steps=60, **FAST)
    (found,) = task.predict([words])
    assert found["tags"] == SCHEMES[scheme]
    kinds = [(each["type"], each["text"]) for each in found["entities"]]
    assert kinds == [("LOC", "San Juan Sur"), ("PER", "Ann"), ("PER", "Bob")]
    assert task.evaluate(tmp_path / "train.conll")["f1"] == 1.0


def test_bare_letters_are_entities_of_one_type():
    sentence = TaggedSentence(["a", "New", "York", "is"], ["O", "B", "I", "O"])
    task = Tagger.from_data([sentence] * 4, valid_fraction=0.0, **SMALL)
    task.fit(steps=60, **FAST)
    (found,) = task.predict([sentence.words])
    assert [(each["type"], each["text"]) for each in found["entities"]] == [("entity", "New York")]
    assert task.evaluate([sentence])["types"]["entity"]["f1"] == 1.0


# Words as they are


def test_it_is_said_that_texts_of_one_word_each_are_sentences(tagger, capsys):
    said = "of one word each, taken for sentences: the words of one sentence are a list in the list\n"
    for _ in range(2):
        found = tagger.predict(["doing", "softly"])
        assert [each["words"] for each in found] == [["doing"], ["softly"]]
        assert capsys.readouterr().err == f"2 of 2 texts {said}"
    list(tagger.stream(["doing"] * 20))
    assert capsys.readouterr().err == f"20 of 20 texts {said}"
    tagger.predict(iter([["doing"], ["softly"]]))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "sentences", [["doing"], ["doing softly", "softly"], [["doing", "softly"]], [["a"], ["b"]], []]
)
def test_nothing_is_said_of_other_sentences(tagger, sentences, capsys):
    tagger.predict(sentences)
    assert capsys.readouterr().err == ""


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
            r"none of the tags is known to the model: it has 3: ADV, NOUN, VERB, and the data 'X' \(1\)",
        ),
        (lambda task: task.evaluate([]), "no examples in the list"),
        (lambda task: task.evaluate([TaggedSentence([], [])]), "no word to evaluate on"),
        (lambda task: task.predict("doing"), "a list of texts"),
        (lambda task: task.predict([["doing", 3]]), r"a sentence is a text or a list of words, got \['doing', 3\]"),
        (
            lambda task: task.predict([TaggedSentence(["a"], ["X"])]),
            "a sentence is a text or a list of words, got Tagged",
        ),
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
