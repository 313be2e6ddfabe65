"""Every task is copied, sent to other processes, and described in one line."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

import numformer as nf
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "valid_fraction": 0.2}
SEQ2SEQ = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 16}
TEXT = "the cat sat on the mat.\nthe dog ran to the hat.\n" * 8
REVIEWS = [(f"a {how} {what}", how) for how in ("good", "bad", "odd") for what in ("film", "play", "book", "song")]
PAIRS = [(f"cat {number}", f"{number} tac") for number in range(12)]
TASKS = {
    "lm": lambda: nf.LanguageModel.from_text(TEXT, **SMALL),
    "mlm": lambda: nf.MaskedLanguageModel.from_text(TEXT, **SMALL),
    "seq2seq": lambda: nf.Translator.from_data(PAIRS, tokenizer="characters", valid_fraction=0.2, **SEQ2SEQ),
    "summarise": lambda: nf.Summariser.from_data(PAIRS, tokenizer="characters", valid_fraction=0.2, **SEQ2SEQ),
    "classify": lambda: nf.Classifier.from_data(REVIEWS, **SMALL),
    "regress": lambda: nf.Regressor.from_data([(text, float(len(text))) for text, _ in REVIEWS], **SMALL),
    "tag": lambda: nf.Tagger.from_data([TaggedSentence(text.split(), ["D", "A", "N"]) for text, _ in REVIEWS], **SMALL),
    "qa": lambda: nf.QuestionAnswerer.from_data(
        [Question(f"{n}", "what ?", f"{text} .", ((text[2:5], 2),)) for n, (text, _) in enumerate(REVIEWS)], **SMALL
    ),
}
PREDICT = {
    "lm": lambda task: task.generate("the ", max_new_tokens=8),
    "mlm": lambda task: task.predict(["the c[MASK]t"]),
    "seq2seq": lambda task: task.predict(["cat 3"], max_new_tokens=4),
    "summarise": lambda task: task.predict(["cat 3"], max_new_tokens=4),
    "qa": lambda task: task.predict(["what ?"], context="a good film ."),
}
every_task = pytest.mark.parametrize("name", TASKS)


def predict(name, task):
    return PREDICT.get(name, lambda task: task.predict(["a good film"]))(task)


@every_task
@pytest.mark.parametrize("copied", [lambda task: pickle.loads(pickle.dumps(task)), copy.deepcopy])
def test_a_copy_predicts_the_same_and_is_trained_to_the_same_weights(name, copied):
    task = TASKS[name]()
    settings = {"steps": 2, "batch_size": 4, "shards": 2, "progress": False}
    result = task.fit(**settings)
    assert copied(result) == result
    twin = copied(task)
    assert predict(name, twin) == predict(name, task)
    for each in (task, twin):
        each.fit(**settings)
    before = task.model.state_dict()
    for key, value in twin.model.state_dict().items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_task_predicts_in_another_process(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    task = TASKS["classify"]()
    with multiprocessing.get_context(method).Pool(1) as pool:
        (there,) = pool.map(task.predict, [["a good film"]])
    (here,) = task.predict(["a good film"])
    assert there[0]["label"] == here["label"]
    assert there[0]["scores"] == pytest.approx(here["scores"], abs=1e-5)


@every_task
def test_a_task_says_in_one_line_what_it_is(name):
    task = TASKS[name]()
    text = repr(task)
    kind, model = type(task).__name__, task.model
    assert text.startswith(f"{kind}(model {type(model).__name__}, {model.num_parameters():,} parameters; tokenizer ")
    assert f"{type(getattr(task.tokenizer, 'target', task.tokenizer)).__name__}, " in text
    assert "; context 16 tokens" in text
    assert "\n" not in text
    assert len(text) < 300


def test_a_classifier_and_a_tagger_name_their_labels_in_the_order_of_the_scores():
    classifier, tagger = TASKS["classify"](), TASKS["tag"]()
    assert classifier.label_names == ["bad", "good", "odd"] == list(classifier.predict(["a film"])[0]["scores"])
    assert tagger.label_names == ["A", "D", "N"]
    assert "; labels 3: bad, good, odd)" in repr(classifier)
    classifier.label_names.append("another")
    assert classifier.model.labels == ["bad", "good", "odd"]
