"""The live line: one line at any width, the step and the time left always in it."""

import io
import re

import pytest
from rich.console import Console

from numformer.training import progress
from numformer.training._live import LiveLine, Piece, fitting

FIGURES = ("loss 12.345", "validation 11.234", "accuracy 0.812, f1 0.734", "123,456 masked tokens/s")
PIECES = [Piece(text, rank) for rank, text in enumerate(FIGURES, start=2)]
widths = pytest.mark.parametrize("width", range(40, 201))


def drawn(line):
    """Return the lines that a terminal would show."""
    with line.console.capture() as captured:
        line.console.print(line.get_renderable())
    return re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).split("\n")[:-1]


def live(width, *arguments, **settings):
    return LiveLine(*arguments, console=Console(file=io.StringIO(), force_terminal=True, width=width), **settings)


@widths
def test_a_training_is_one_line_with_its_step_and_the_time_left(width):
    line = live(width, "step", 200_000, 123_456, transient=False)
    line.pieces = PIECES
    [text] = drawn(line)
    assert len(text.rstrip()) <= width
    assert text.startswith("step 123456/200000 ")
    assert text.rstrip().endswith(" left")
    shown = [figure for figure in FIGURES if figure in text]
    assert shown == list(FIGURES[: len(shown)])  # whole figures, and the last one goes first


@widths
@pytest.mark.parametrize(("total", "shown"), [(200, "25%"), (None, "")])
def test_a_bar_is_one_line_too(width, total, shown):
    [text] = drawn(live(width, "cleaning", total, 50, as_share=True))
    assert len(text.rstrip()) <= width
    assert text.startswith(f"cleaning {shown}")
    assert "━" in text or width < 46


def test_a_wide_terminal_shows_all_and_a_narrow_one_the_loss():
    wide, narrow = live(200, "step", 900, 12), live(40, "step", 900, 12)
    wide.pieces = narrow.pieces = PIECES
    assert all(figure in drawn(wide)[0] for figure in FIGURES)
    assert "━" in drawn(wide)[0]
    assert drawn(narrow)[0].split("-")[0] == "step 12/900 loss 12.345 "


def test_the_line_follows_the_width_of_the_moment():
    line = live(200, "step", 900, 12)
    line.pieces = PIECES
    before = drawn(line)
    line.console.width = 50
    [text] = drawn(line)
    assert len(text.rstrip()) <= 50 < len(before[0].rstrip())


def test_another_piece_of_work_takes_the_place_of_one_that_is_done():
    line = live(80, "cleaning", 200, 50, as_share=True)
    line.begin("splitting", None)
    assert [text.split("━")[0] for text in drawn(line)] == ["splitting "]


def test_pieces_go_by_rank_and_those_of_rank_0_stay():
    line = [Piece("aaaa"), Piece("bb", 2), Piece("cc", 1), Piece("日本", 3), Piece("")]
    assert [piece.text for piece in fitting(line, 15)] == ["aaaa", "bb", "cc", "日本"]
    assert [piece.text for piece in fitting(line, 14)] == ["aaaa", "bb", "cc"]
    assert [piece.text for piece in fitting(line, 9)] == ["aaaa", "cc"]
    assert [piece.text for piece in fitting(line, 1)] == ["aaaa"]


def test_tracking_yields_every_item_once_before_and_after_the_bar_appears(monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "SHOWN_AFTER", 0.0)
    assert list(progress.track(iter("abcd"), 4)) == list("abcd")
    assert list(progress.track(iter(""), 0)) == []
