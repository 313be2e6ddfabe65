"""Any number of inputs: predictions in their order, a few hundred inputs at a time."""

import itertools

import pytest

from numformer.errors import InputError
from numformer.tasks import Classifier
from numformer.tasks.shared.prediction import FIRST_PIECE, LONGEST_PIECE, pieces


@pytest.fixture(scope="module")
def classifier():
    data = [("good film", "pos"), ("bad film", "neg")] * 8
    return Classifier.from_data(data, d_model=8, num_heads=2, num_layers=1, vocab_size=100)


def counting(limit=None):
    """Return numbered texts without end, and a list whose length tells how many were taken."""
    taken = []

    def texts():
        for number in itertools.count() if limit is None else range(limit):
            taken.append(number)
            yield f"film {number}"

    return texts(), taken


def test_pieces_double_up_to_a_bound_and_hold_every_item_in_order():
    found = list(pieces(range(2000)))
    assert [len(piece) for piece in found] == [8, 16, 32, 64, 128, 256, 512, 512, 472]
    assert list(itertools.chain(*found)) == list(range(2000))
    assert list(pieces([])) == []


def test_a_pause_gives_out_what_there_is():
    pauses = iter([False, True, False, False])
    assert list(pieces("abcd", lambda: next(pauses))) == [["a", "b"], ["c", "d"]]


def test_the_first_results_come_before_the_inputs_end(classifier):
    texts, taken = counting()
    stream = classifier.stream(texts)
    assert next(stream)["text"] == "film 0"
    assert len(taken) == FIRST_PIECE


def test_no_more_inputs_are_taken_than_a_piece_has(classifier):
    texts, taken = counting()
    for number, result in enumerate(itertools.islice(classifier.stream(texts), 1200)):
        assert result["text"] == f"film {number}"
        assert len(taken) - number <= LONGEST_PIECE


def test_a_stream_gives_what_predict_gives(classifier):
    texts, _ = counting(40)
    streamed = list(classifier.stream(texts))
    listed = classifier.predict([f"film {number}" for number in range(40)])
    assert [each["label"] for each in streamed] == [each["label"] for each in listed]
    assert [each["score"] for each in streamed] == pytest.approx([each["score"] for each in listed])


def test_settings_of_predict_are_those_of_a_stream(classifier, monkeypatch):
    monkeypatch.setattr(classifier, "predict", lambda texts, **settings: [settings] * len(texts))
    assert list(classifier.stream(iter("ab"), top_k=3)) == [{"top_k": 3}] * 2


def test_none_stands_for_a_blank_input_that_the_model_is_not_asked_about(classifier, monkeypatch):
    asked = []
    monkeypatch.setattr(classifier, "predict", lambda texts, **settings: asked.extend(texts) or texts)
    assert list(classifier.stream(["a", None, "b"])) == ["a", classifier.blank_prediction({}), "b"]
    assert asked == ["a", "b"]


def test_a_stream_gives_what_there_is_when_the_next_input_is_long_in_coming(classifier):
    texts, taken = counting()
    next(classifier.stream(texts, paused=lambda: len(taken) == 3))
    assert len(taken) == 3


def test_one_text_in_place_of_many_is_refused(classifier):
    with pytest.raises(InputError, match="expected a list of texts, got the text 'good film': put it in brackets"):
        next(classifier.stream("good film"))


def test_what_is_cut_is_counted_over_all_pieces_also_of_a_stream_that_is_left(classifier, capsys):
    long = "film " * 200
    list(classifier.stream([long, "film"] * 20))
    assert capsys.readouterr().err == "20 of 40 texts cut to max_seq_len=128 tokens\n"
    stream = classifier.stream([long] * 40)
    next(stream)
    stream.close()
    assert capsys.readouterr().err == "8 of 8 texts cut to max_seq_len=128 tokens\n"
