"""What may be given as a list may be given as a generator: it is read once, and whole."""

import numpy as np
import pytest

import numformer as nf
from numformer import nn, ops
from numformer.generation import TextStream
from numformer.tokenizers import WordTokenizer

TEXT = "the cat sat on the mat. a dog ran to the owl.\n" * 40


def generated(values):
    yield from values


@pytest.fixture(scope="module")
def lm():
    return nf.LanguageModel.from_text(TEXT, d_model=16, num_layers=1, num_heads=2, max_seq_len=16)


def test_gradients_by_all_tensors():
    weights = [nf.Parameter(np.full(3, 2.0)), nf.Parameter(np.full(3, 5.0))]
    found = nf.gradients((weights[0] * weights[1]).sum(), generated(weights))
    np.testing.assert_array_equal(found, [[5.0] * 3, [2.0] * 3])


def test_recomputation_reads_all_parameters():
    weight, x = nf.Parameter(np.full(3, 2.0)), nf.Parameter(np.full(3, 5.0))
    y = nf.recompute(lambda x: ops.mul(x, weight), x, parameters=generated([weight]))
    np.testing.assert_array_equal(nf.gradients(y.sum(), [x, weight]), [[2.0] * 3, [5.0] * 3])


@pytest.mark.parametrize("group", [False, True])
def test_optimizers_and_clipping_take_all_parameters(group):
    model = nn.Linear(3, 2)
    parameters = generated(model.parameters())
    optimizer = nf.optim.SGD([{"params": parameters}] if group else parameters, lr=1.0)
    assert len(optimizer.parameters) == 2
    model.weight.grad, model.bias.grad = np.zeros((2, 3), np.float32), np.array([3.0, 4.0], np.float32)
    assert nf.optim.clip_grad_norm(generated(model.parameters()), 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(model.bias.grad, [0.6, 0.8], rtol=1e-5)


def test_every_sample_ends_at_every_stop_string(lm):
    stop = ["e", "t", " "]
    expected = lm.generate("the", 12, num_samples=4, stop=stop)
    assert lm.generate("the", 12, num_samples=4, stop=generated(stop)) == expected
    stream = TextStream(lm.tokenizer, generated(["xy", "ca"]))
    assert [stream.push(token) for token in lm.tokenizer.encode("a cat")][-3:] == ["", "", ""]
    assert stream.finished


def test_every_row_ends_at_every_stop_token(lm):
    prompts, stop_ids = [[1, 2], [3], [4]], range(1, 9)
    expected = lm.model.generate(prompts, 12, stop_ids=stop_ids)
    found = lm.model.generate(generated(prompts), 12, stop_ids=generated(stop_ids))
    assert (found.ended, [row.tolist() for row in found]) == (expected.ended, [row.tolist() for row in expected])
    assert "stop" in expected.ended[1:]


def test_a_capture_looks_at_all_names(lm):
    with nf.capture(lm.model, generated(["layers.0", "norm"])) as seen:
        lm.model(np.array([[1, 2]]))
    assert set(seen.tensors) == {"layers.0", "norm"}


def test_a_word_tokenizer_has_all_words():
    assert WordTokenizer(generated(["a", "b"])).vocabulary == ["a", "b"]


def test_modules_and_examples_and_texts_are_all_there():
    assert len(nn.ModuleList(generated([nn.ReLU(), nn.Tanh()]))) == 2
    reviews = [(f"a {how} film", how) for how in ("good", "bad")] * 6
    sizes = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16}
    classifier = nf.Classifier.from_data(generated(reviews), valid=generated(reviews[:2]), **sizes)
    assert (len(classifier.train_data), len(classifier.valid_data)) == (12, 2)
    assert len(classifier.predict(generated(["good", "bad", "film"]))) == 3
    assert classifier.evaluate(generated(reviews))["count"] == 12
