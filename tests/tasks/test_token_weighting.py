"""Every task's loss is a sum over its real targets divided by their number, so it does not matter how a batch is cut."""

import numpy as np
import pytest

from numformer import Classifier, MaskedLanguageModel, QuestionAnswerer, Tagger, Translator
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.optim import SGD
from numformer.training import TrainConfig
from numformer.training.step import TrainStep
from numformer.training.workers import Workers

LAYERS = {"d_model": 8, "num_heads": 2, "max_seq_len": 16, "dropout": 0.0}
SMALL = LAYERS | {"num_layers": 1}
WORDS = ["a", "cat", "sat", "on", "the", "red", "mat", "and", "ate", "one", "old", "fish"]
LENGTHS = (1, 9, 2, 5, 12, 1, 3)

TARGETS = sum(len(" ".join(WORDS[:length:2])[:9]) + 1 for length in LENGTHS)  # letters and the end token


def sentences():
    return [WORDS[:length] for length in LENGTHS]


def classify(class_weights=False):
    labels = ["b", "a", "b", "b", "c", "b", "a"]
    examples = [(" ".join(words), label) for words, label in zip(sentences(), labels, strict=True)]
    return Classifier.from_data(examples, class_weights=class_weights, valid_fraction=0.0, vocab_size=100, **SMALL)


def tag():
    examples = [TaggedSentence(words, [f"L{len(word)}" for word in words]) for words in sentences()]
    return Tagger.from_data(examples, tokenizer="characters", valid_fraction=0.0, **SMALL | {"max_seq_len": 64})


def qa():
    examples = [
        Question(str(i), "a", " ".join(words), ((words[-1], len(" ".join(words[:-1])) + (len(words) > 1)),))
        for i, words in enumerate(sentences())
    ]
    return QuestionAnswerer.from_data(examples, valid_fraction=0.0, vocab_size=100, **SMALL)


def seq2seq():
    examples = [(" ".join(words), " ".join(words[::2])[:9]) for words in sentences()]
    layers = LAYERS | {"num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 64}
    return Translator.from_data(examples, tokenizer="characters", valid_fraction=0.0, **layers)


def mlm():
    return MaskedLanguageModel.from_text(" ".join(WORDS * 5) + "\n", **SMALL)


TASKS = {
    "seq2seq": seq2seq,
    "classify": classify,
    "classify, weighted": lambda: classify(class_weights=True),
    "tag": tag,
    "qa": qa,
    "mlm": mlm,
}


def gradient_of(task, shards, accumulation, label_smoothing=0.0, batch_size=7):
    objective = task.objective(TrainConfig(batch_size=batch_size, label_smoothing=label_smoothing))
    optimizer = SGD(list(task.model.parameters()), lr=0.0)
    with Workers(1) as workers:
        step = TrainStep(objective, optimizer, workers, seed=0, shards=shards, accumulation=accumulation)
        result = step(3)
    return optimizer.gradient.copy(), result, objective


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", TASKS)
def test_a_batch_cut_in_pieces_has_the_gradient_of_the_whole(name, label_smoothing, randomise):
    task = TASKS[name]()
    task.model.astype(np.float64)
    randomise(task.model)
    whole, result, objective = gradient_of(task, 1, 1, label_smoothing)
    batch = objective.batch(3)
    assert len(batch[0]) == 7
    assert result.loss == pytest.approx(objective.loss_sum(*batch).item() / objective.num_tokens(*batch), rel=1e-9)
    for shards, accumulation in ((2, 1), (1, 3), (2, 2), (3, 4)):  # the last has more pieces than there are sequences
        cut, cut_result, _ = gradient_of(task, shards, accumulation, label_smoothing)
        np.testing.assert_allclose(cut, whole, rtol=1e-6, atol=1e-9 * abs(whole).max())
        assert cut_result.loss == pytest.approx(result.loss, rel=1e-9)
        assert cut_result.num_tokens == result.num_tokens


@pytest.mark.parametrize(
    ("name", "count"),
    [("seq2seq", TARGETS), ("classify", 7), ("tag", sum(LENGTHS)), ("qa", 14), ("mlm", None)],
)
def test_the_loss_is_the_mean_over_real_targets_by_hand(name, count, randomise):
    """The sum over sequences taken one by one, without any padding, over the number of targets."""
    task = TASKS[name]()
    task.model.astype(np.float64)
    randomise(task.model)
    _, result, objective = gradient_of(task, 1, 1)
    *inputs, targets = objective.batch(3)
    total = real = 0
    for row in range(len(targets)):
        logits = objective.model(*(part[row : row + 1] for part in inputs)).data[0].astype(np.float64)
        log_p = logits - logits.max(-1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
        for scores, target in zip(np.atleast_2d(log_p), np.atleast_1d(targets[row]), strict=True):
            if target != -100:
                total, real = total - scores[target], real + 1
    assert result.num_tokens == real == (count or real)
    assert result.loss == pytest.approx(total / real, rel=1e-6)


def test_class_weights_weigh_every_label_alike_and_an_example_one_on_average():
    objective = classify(class_weights=True).objective(TrainConfig(batch_size=7))
    np.testing.assert_allclose(objective.class_weights, [7 / (3 * 2), 7 / (3 * 4), 7 / (3 * 1)])  # a, b, c
    batch = objective.batch(0)
    assert objective.num_tokens(*batch) == pytest.approx(7.0)


def test_class_weights_change_the_loss_as_they_say(randomise):
    plain, weighted = classify(), classify(class_weights=True)
    for task in (plain, weighted):
        task.model.astype(np.float64)
        randomise(task.model)
    objective = plain.objective(TrainConfig(batch_size=4))
    *inputs, targets = objective.batch(3)
    log_p = np.log(np.exp(x := objective.model(*inputs).data) / np.exp(x).sum(-1, keepdims=True))
    each, weights = -log_p[np.arange(len(targets)), targets], np.array([7 / 6, 7 / 12, 7 / 3])[targets]
    assert weights.sum() != pytest.approx(len(targets))
    assert gradient_of(plain, 2, 2, batch_size=4)[1].loss == pytest.approx(each.mean(), rel=1e-6)
    assert gradient_of(weighted, 2, 2, batch_size=4)[1].loss == pytest.approx(
        (each * weights).sum() / weights.sum(), rel=1e-6
    )


def test_smoothing_of_answers_is_spread_over_the_real_positions_of_each_window(randomise):
    """A padded batch has the loss of its windows taken one by one and without padding."""
    task = qa()
    task.model.astype(np.float64)
    randomise(task.model)
    objective = task.objective(TrainConfig(batch_size=7, label_smoothing=0.2))
    together = objective.loss_sum(*objective.batch(0)).item()
    alone = 0.0
    for number in objective.batches.batch(0):
        *inputs, targets = objective.collate([objective.examples[number]])
        log_p = np.log(np.exp(x := objective.model(*inputs).data[0]) / np.exp(x).sum(-1, keepdims=True))
        alone -= 0.8 * log_p[[0, 1], targets[0]].sum() + 0.2 * log_p.mean(-1).sum()
    assert np.isfinite(together)
    assert together == pytest.approx(alone, rel=1e-6)
