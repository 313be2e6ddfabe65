"""Scripts that put no spaces between words, from training to prediction."""

import numpy as np
import pytest

from numformer import Classifier, QuestionAnswerer, Tagger, load
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence

SMALL = {"d_model": 32, "num_heads": 2, "num_layers": 1, "max_seq_len": 96, "dropout": 0.0, "vocab_size": 600}
FAST = {"lr": 3e-3, "batch_size": 32, "shards": 1, "progress": False}
CHINESE = "我你他她们这那里有人说在家看书喝茶天气今天明年"
THAI = "กขคงจฉชซดตนบปผพมยรลวสหอ"


def filler(rng, letters):
    return "".join(rng.choice(list(letters), rng.integers(3, 9)))


def reviews(letters, words, count, seed):
    """Return sentences without a space that differ in one word alone."""
    rng = np.random.default_rng(seed)
    return [
        (filler(rng, letters) + words[number % 2] + filler(rng, letters), ("good", "bad")[number % 2])
        for number in range(count)
    ]


@pytest.mark.parametrize("tokenizer", ["words", "wordpiece", "bpe", "characters", "bytes"])
@pytest.mark.parametrize(("letters", "words"), [(CHINESE, ("好吃", "难吃")), (THAI, ("ดี", "ร้าย"))])
def test_a_classifier_learns_from_a_word_inside_a_sentence(tokenizer, letters, words):
    if tokenizer in ("wordpiece", "bpe"):
        pytest.importorskip("tokenizers")
    data, unseen = reviews(letters, words, 300, seed=0), reviews(letters, words, 200, seed=1)
    task = Classifier.from_data(data, valid_fraction=0.0, tokenizer=tokenizer, **SMALL)
    task.fit(steps=80, **FAST)
    assert task.evaluate(unseen)["accuracy"] > 0.95


def names(count, seed):
    """Return questions about sentences in each of which two characters after 叫 are the answer."""
    rng, result = np.random.default_rng(seed), []
    for number in range(count):
        before, answer, after = (
            filler(rng, CHINESE),
            "".join(rng.choice(list("王李张刘陈明红华"), 2)),
            filler(rng, CHINESE),
        )
        result.append(Question(str(number), "叫什么？", f"{before}叫{answer}，{after}。", ((answer, len(before) + 1),)))
    return result


@pytest.mark.parametrize("tokenizer", ["words", "wordpiece"])
def test_an_answer_is_a_piece_of_a_sentence(tokenizer, tmp_path):
    if tokenizer == "wordpiece":
        pytest.importorskip("tokenizers")
    task = QuestionAnswerer.from_data(names(300, 0), valid_fraction=0.0, tokenizer=tokenizer, **SMALL)
    task.fit(steps=150, **FAST)
    scores = task.evaluate(names(100, 1))
    assert scores["exact_match"] > 95.0
    assert scores["f1"] > 95.0
    question = Question("", "叫什么？", "我家有人叫张红，看书。", ())
    [answer] = task.predict([question])
    assert (answer["answer"], answer["start"], answer["end"]) == ("张红", 5, 7)
    task.save(tmp_path)
    assert load(tmp_path).predict([question]) == [answer]


@pytest.mark.parametrize("tokenizer", ["words", "characters"])
def test_a_sentence_is_tagged_letter_by_letter_and_its_entities_are_written_without_spaces(tokenizer):
    sentences = [
        TaggedSentence(["张", "三", "在", "Rome"], ["B-PER", "I-PER", "O", "B-LOC"]),
        TaggedSentence(["在", "Rome"], ["O", "B-LOC"]),
        TaggedSentence(["王", "五", "在"], ["B-PER", "I-PER", "O"]),
    ] * 8
    task = Tagger.from_data(sentences, valid_fraction=0.0, tokenizer=tokenizer, **SMALL)
    task.fit(steps=60, **FAST)
    [found] = task.predict(["张三在Rome"])
    assert found["words"] == ["张", "三", "在", "Rome"]
    assert [(entity["type"], entity["text"]) for entity in found["entities"]] == [("PER", "张三"), ("LOC", "Rome")]
