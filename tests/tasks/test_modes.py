"""Measuring, predicting and looking use a model without dropout and leave the mode of every part as it was."""

import threading

import numpy as np
import pytest

from numformer import Classifier, MaskedLanguageModel, Tagger, Translator
from numformer.autograd import is_evaluating
from numformer.data.tagged.conll import TaggedSentence
from numformer.training import TrainConfig
from numformer.training.workers import Workers

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "dropout": 0.5}
SEQ2SEQ = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "dropout": 0.5}
PAIRS = [(f"{a} b", f"b {a}") for a in "cdefgh"]
MAKE = {
    "classify": lambda: Classifier.from_data([(a, a[0]) for a, _ in PAIRS], valid_fraction=0.0, **SMALL),
    "tag": lambda: Tagger.from_data([TaggedSentence(a.split(), ["X", "Y"]) for a, _ in PAIRS], **SMALL),
    "seq2seq": lambda: Translator.from_data(PAIRS, tokenizer="characters", valid_fraction=0.0, **SEQ2SEQ),
    "mlm": lambda: MaskedLanguageModel.from_text("the cat sat.\n" * 20, **SMALL),
}
DATA = {
    "classify": [("c b", "c")],
    "tag": [TaggedSentence(["c"], ["X"])],
    "seq2seq": PAIRS[:1],
    "mlm": "the cat.\n" * 5,
}
USES = {
    "predict": lambda name, task: task.predict(["c[MASK]" if name == "mlm" else "c b"]),
    "evaluate": lambda name, task: task.evaluate(DATA[name]),
    "attention": lambda name, task: [each.weights for each in task.attention("c b")],
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", MAKE)
def test_no_part_of_a_model_changes_its_mode_and_none_drops(name, use):
    task = MAKE[name]()
    expected = USES[use](name, task)
    modules = [module for _, module in task.model.named_modules()]
    modes = [number % 3 == 0 for number in range(len(modules))]
    for module, mode in zip(modules, modes, strict=True):
        module.training = mode
    found = USES[use](name, task)
    assert [module.training for module in modules] == modes
    np.testing.assert_equal(found, expected)
    assert not is_evaluating()


def test_a_model_is_measured_while_another_thread_trains_it():
    task = MAKE["classify"]()
    objective = task.objective(TrainConfig(batch_size=4))
    task.model.train()
    losses = []

    def measure():
        with Workers(2) as workers:
            losses.append(objective.measure(objective.sequential(objective.examples), workers)["loss"])

    thread = threading.Thread(target=measure)
    thread.start()
    dropped = {objective.loss_sum(*objective.batch(1)).item() for _ in range(5)}
    thread.join()
    assert len(dropped) > 1, "dropout in training"
    measure()
    assert losses[0] == losses[1]
