"""The record of a run: what is read of it, and what it says was best."""

import pytest

from numformer.errors import InputError
from numformer.training.metrics import append_metrics, best_of, cut_metrics, read_metrics

LINE = {"step": 1, "loss": 2.0, "seconds": 0.5}
GOOD = '{"step": 1, "loss": 2.0, "seconds": 0.5}\n'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_what_is_added_is_read(file):
    lines = [LINE, LINE | {"step": 2, "val_loss": 1.0, "best": "val_loss"}]
    for line in lines:
        append_metrics(file, line)
    assert read_metrics(file) == lines


def test_a_file_that_is_not_there_has_no_lines(file):
    assert read_metrics(file) == []


@pytest.mark.parametrize("cut", ['{"step": 2, "lo', "{", '"', "\0\0\0"])
def test_a_last_line_that_was_cut_off_is_left_out(file, cut):
    file.write_text(GOOD + cut)
    assert read_metrics(file) == [LINE]


def test_a_last_line_that_lacks_its_line_break_alone_counts(file):
    file.write_text(GOOD + GOOD[:-1])
    assert read_metrics(file) == [LINE, LINE]


@pytest.mark.parametrize(
    "damaged",
    [
        '{"step": 2, "lo',
        "",
        "3",
        "{}",
        "[" * 100_000,
        '{"step": "x", "loss": 1.0, "seconds": 1.0}',
        '{"step": 2, "seconds": 1.0}',
        '{"step": 2, "loss": 1.0}',
        '{"step": 2, "loss": 1.0, "seconds": 1.0, "val_loss": "low"}',
        '{"step": 2, "loss": 1.0, "seconds": 1.0, "best": ["val_loss"]}',
    ],
    ids=lambda text: text[:30],
)
@pytest.mark.parametrize("after", [GOOD, ""])
def test_a_damaged_line_is_named(file, damaged, after):
    file.write_text(GOOD + damaged + "\n" + after)
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2 is damaged: it is .*; take the line out") as caught:
        read_metrics(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_cutting_drops_later_steps_and_leaves_a_file_alone_that_has_none(file):
    for step in (1, 2, 3):
        append_metrics(file, LINE | {"step": step})
    before = file.stat()
    assert [line["step"] for line in cut_metrics(file, 3)] == [1, 2, 3]
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [line["step"] for line in cut_metrics(file, 2)] == [1, 2]
    assert [line["step"] for line in read_metrics(file)] == [1, 2]


def test_the_best_is_the_last_that_was_said_to_be():
    lines = [
        LINE | {"step": 2, "val_loss": 1.0, "val_f1": 40.0, "best": "val_f1"},
        LINE | {"step": 4, "val_loss": 3.0, "val_f1": 60.0, "best": "val_f1"},
        LINE | {"step": 6, "val_loss": 0.5, "val_f1": 50.0},
    ]
    assert best_of(lines) == (4, "f1", 60.0)
    assert str(best_of(lines)) == "f1 60.00 at step 4"


def test_an_earlier_version_did_not_say_it_and_the_lowest_loss_is_taken():
    lines = [
        LINE | {"step": step, "val_loss": loss, "val_accuracy": 1.0} for step, loss in ((1, 3.0), (2, 1.5), (3, 2.0))
    ]
    assert str(best_of(lines)) == "loss 1.500 at step 2"


def test_a_run_without_evaluations_has_no_best():
    assert best_of([LINE]) is None
