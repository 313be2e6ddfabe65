"""What `LanguageModel.generate` gives out piece by piece, and when it ends."""

import pytest

from numformer.tasks import LanguageModel

TEXT = "the cat sat on the mat.\n" * 40


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return LanguageModel.from_text(path, d_model=16, num_heads=2, num_layers=1, max_seq_len=16)


def streamed(lm, **settings):
    pieces = []
    text = lm.generate("the ", max_new_tokens=30, seed=1, on_text=pieces.append, **settings)
    assert "".join(pieces) == text
    assert all(pieces)
    return text, pieces


@pytest.fixture
def calls(lm, monkeypatch):
    """The list that gets an entry for every run of the model."""
    calls, forward = [], lm.model.forward
    monkeypatch.setattr(lm.model, "forward", lambda *a, **s: (calls.append(1), forward(*a, **s))[1])
    return calls


def test_text_that_might_have_begun_a_stop_string_comes_at_the_end(lm):
    free, _ = streamed(lm)
    text, pieces = streamed(lm, stop=[free[-1] + "~"])
    assert text == free
    assert pieces[-1].endswith(free[-1])
    assert len(pieces) < len(free)


def test_nothing_of_a_stop_string_is_ever_given_out(lm):
    free, _ = streamed(lm)
    for start in range(0, 20, 3):
        stop = free[start : start + 3]
        text, _ = streamed(lm, stop=[stop])
        assert text == free.partition(stop)[0]


def test_a_stop_string_ends_the_work_too(lm, calls):
    free, _ = streamed(lm)
    calls.clear()
    text, _ = streamed(lm, stop=[free[4:6]])
    assert len(calls) == len(text) + 2 < 30


def test_the_end_token_ends_the_work_too():
    lm = LanguageModel.from_text(TEXT, tokenizer="bytes", d_model=16, num_heads=2, num_layers=1, max_seq_len=16)
    lm.model.norm.weight.data[...] = 0.0
    lm.model.norm.bias.data[...] = lm.model.token_embedding.weight.data[lm.tokenizer.eos_id]
    calls, forward = [], lm.model.forward
    lm.model.forward = lambda *a, **s: (calls.append(1), forward(*a, **s))[1]
    assert lm.generate("the", max_new_tokens=20, temperature=0.0) == ""
    assert len(calls) == 1
