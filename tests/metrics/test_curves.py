import sys

import pytest

from numformer import InputError
from numformer.metrics import curves as module
from numformer.metrics import draw_curves


@pytest.fixture
def drawn(monkeypatch):
    """Draw, and return the axes of the figure that was written."""
    pytest.importorskip("matplotlib")
    figures, save = [], module._save
    monkeypatch.setattr(module, "_save", lambda figure, path: (figures.append(figure), save(figure, path)))

    def draw(*arguments, **settings):
        draw_curves(*arguments, **settings)
        return figures[-1].axes[0]

    return draw


def test_a_list_is_drawn_from_step_one_and_a_dict_at_its_steps(drawn, tmp_path):
    axes = drawn({"training": [3.0, 2.0, 1.5], "validation": {2: 2.5, 3: 2.0}}, tmp_path / "a.png", ylabel="nats")
    lines = {line.get_label(): [list(map(float, values)) for values in line.get_data()] for line in axes.lines}
    assert lines == {"training": [[1, 2, 3], [3.0, 2.0, 1.5]], "validation": [[2, 3], [2.5, 2.0]]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "nats")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_many_values_are_a_line_and_few_are_points(drawn, tmp_path):
    axes = drawn({"training": [1.0] * 100, "validation": {50: 1.0}}, tmp_path / "a.png")
    assert [line.get_marker() for line in axes.lines] == ["", "o"]


@pytest.mark.parametrize("curves", [{}, {"training": []}, {"training": [], "validation": {}}])
def test_without_a_number_there_is_no_picture(curves, tmp_path):
    with pytest.raises(InputError, match="there is no number to draw"):
        draw_curves(curves, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_no_other_file_is_drawn_over(tmp_path):
    (tmp_path / "losses.csv").write_text("mine")
    with pytest.raises(InputError, match=r"ends in \.png, got .*losses\.csv"):
        draw_curves({"training": [1.0]}, tmp_path / "losses.csv")
    assert (tmp_path / "losses.csv").read_text() == "mine"


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="needs the package matplotlib"):
        draw_curves({"training": [1.0]}, tmp_path / "a.png")
