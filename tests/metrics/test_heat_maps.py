import sys
from itertools import pairwise

import numpy as np
import pytest

from numformer import random
from numformer.errors import InputError
from numformer.metrics import draw_attention, draw_confusion_matrix

ODD = ["", " a\n", "$x_$", "日本", "\x00\ud800", "long" * 50]


def uniform(*shape):
    return np.full(shape, 1.0 / shape[-1], np.float32)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Let a function draw; return the figure that it would have saved."""
    figures = []
    monkeypatch.setattr(
        pytest.importorskip("matplotlib.figure").Figure, "savefig", lambda self, *args, **kw: figures.append(self)
    )

    def draw(function, *args, **kw):
        function(*args, path=tmp_path / "map.png", **kw)
        return figures.pop()

    return draw


def maps(figure):
    return [axes for axes in figure.axes if axes.images]


def texts(labels):
    return [label.get_text() for label in labels]


def test_a_small_confusion_matrix_shows_counts_labels_and_accuracy(drawn):
    [axes] = maps(drawn(draw_confusion_matrix, np.array([[3, 1], [0, 1234]]), ["no", "yes please"]))
    assert texts(axes.texts) == ["3", "1", "0", "1,234"]
    assert texts(axes.get_yticklabels()) == texts(axes.get_xticklabels()) == ["no", "yes please"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("gold", "predicted")
    assert axes.get_title() == "accuracy 99.9 % of 1,238"


def test_rows_are_coloured_by_their_shares_and_an_empty_row_by_none(drawn):
    [axes] = maps(drawn(draw_confusion_matrix, [[3, 1], [0, 0]], ["a", "b"]))
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_many_classes_have_labels_but_no_counts(drawn):
    labels = [f"class {i}" for i in range(40)]
    [axes] = maps(drawn(draw_confusion_matrix, np.eye(40, dtype=int), labels))
    assert texts(axes.texts) == []
    assert texts(axes.get_yticklabels()) == texts(axes.get_xticklabels()) == labels


@pytest.mark.parametrize("matrix", [np.ones((2, 3)), np.ones(4), np.ones((3, 3))])
def test_a_confusion_matrix_of_another_shape_is_refused(matrix, tmp_path):
    with pytest.raises(InputError, match=r"of 2 labels has the shape \[2 2\], got \[.*\]"):
        draw_confusion_matrix(matrix, ["a", "b"], tmp_path / "map.png")


def test_one_head_is_one_map_with_its_tokens(drawn):
    weights = random.generator(0).random((1, 2, 3))
    figure = drawn(draw_attention, weights, ["a", "b"], ["x", "y", "z"], title="costs $5 or $6")
    [axes] = maps(figure)
    assert (axes.images[0].get_array() == weights[0]).all()
    assert texts(axes.get_yticklabels()) == ["a", "b"]
    assert texts(axes.get_xticklabels()) == ["x", "y", "z"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("token", "attends to")
    assert figure.get_suptitle() == "costs $5 or $6"


def test_spaces_and_line_ends_are_visible_and_control_characters_escaped(drawn):
    [axes] = maps(drawn(draw_attention, uniform(1, 4, 4), ["a b", "\n", "\t", "\x00"], list("abcd"), title=""))
    assert texts(axes.get_yticklabels()) == ["a␣b", "⏎", "⇥", r"\x00"]


def test_heads_fill_rows_and_only_outer_maps_have_tokens(drawn):
    figure = drawn(draw_attention, uniform(5, 2, 2), ["a", "b"], ["x", "y"], title="five")
    assert [axes.get_title() for axes in maps(figure)] == [f"head {i}" for i in range(5)]
    assert [bool(axes.get_ylabel()) for axes in maps(figure)] == [True, False, False, True, False]
    assert [bool(axes.get_xlabel()) for axes in maps(figure)] == [False, False, True, True, True]


def test_layers_are_rows_of_heads(drawn):
    weights = random.generator(0).random((2, 3, 4, 4))
    figure = drawn(draw_attention, weights, list("abcd"), list("abcd"), title="all")
    lefts, bottoms = zip(*(axes.get_position().min for axes in maps(figure)), strict=True)
    assert len(set(np.round(lefts, 6))) == 3
    assert bottoms[0] == bottoms[2] > bottoms[3] == bottoms[5]
    assert maps(figure)[4].get_title() == "layer 1, head 1"
    assert (maps(figure)[4].images[0].get_array() == weights[1, 1]).all()


def test_every_map_has_the_same_scale(drawn):
    figure = drawn(draw_attention, np.array([[[0.1, 0.9]], [[0.5, 0.5]]]), ["a"], ["x", "y"], title="scale")
    assert {axes.images[0].get_clim() for axes in maps(figure)} == {(0.0, 0.9)}


def test_long_sequences_label_as_many_tokens_as_have_room(drawn):
    tokens = [str(i) for i in range(300)]
    [axes] = maps(drawn(draw_attention, uniform(1, 300, 300), tokens, tokens, title="long"))
    shown = texts(axes.get_yticklabels())
    assert 30 < len(shown) < 150
    assert shown == tokens[:: int(shown[1])]
    assert [int(text) for text in shown] == axes.get_yticks().tolist()


def overlaps(axes, labels):
    """Tell whether any two labels of an axis overlap as they are drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(axes.figure)
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
    return any(one.overlaps(other) for one, other in pairwise(boxes))


@pytest.mark.parametrize("shape", [(1, 1, 300, 300), (8, 8, 300, 300), (8, 8, 20, 20), (1, 4, 5, 300), (1, 4, 300, 5)])
def test_labels_of_long_and_many_maps_do_not_overlap(drawn, shape):
    rows, columns = (["internationally" if i % 7 else "a" for i in range(size)] for size in shape[2:])
    weights = uniform(*shape) if shape[0] > 1 else uniform(*shape[1:])
    figure = drawn(draw_attention, weights, rows, columns, title="long")
    first, last = maps(figure)[0], maps(figure)[-1]
    assert not overlaps(first, first.get_yticklabels())
    assert not overlaps(last, last.get_xticklabels())
    assert len(first.get_yticklabels()) >= min(5, shape[2])
    assert len(last.get_xticklabels()) >= min(5, shape[3])


def test_every_token_of_a_long_text_has_two_pixels_in_each_of_many_maps(drawn):
    axes = maps(drawn(draw_attention, uniform(2, 2, 300, 300), ["a"] * 300, ["a"] * 300, title="long"))[0]
    assert (axes.get_window_extent().size / axes.figure.dpi * 120 / 300 >= 2 - 1e-6).all()


@pytest.mark.parametrize(("layers", "tokens", "expected"), [(2, 300, "nearest"), (40, 600, "auto")])
def test_maps_are_sharp_where_a_token_has_two_pixels(drawn, layers, tokens, expected):
    labels = ["a"] * tokens
    figure = drawn(draw_attention, uniform(layers, 2, tokens, tokens), labels, labels, title="sharp")
    assert {axes.images[0].get_interpolation() for axes in maps(figure)} == {expected}


def test_a_picture_of_very_many_maps_stays_within_its_bounds(drawn):
    figure = drawn(draw_attention, uniform(40, 2, 600, 600), ["a"] * 600, ["a"] * 600, title="many")
    assert max(figure.get_size_inches()) < 60 + 40 * 0.5


def test_pictures_are_written_whatever_the_labels_are(tmp_path):
    pytest.importorskip("matplotlib")
    draw_attention(uniform(1, 6, 6), ODD, ODD, tmp_path / "new" / "attention.png", "odd $x_$ \x00\n日本")
    draw_confusion_matrix(np.eye(6, dtype=int), ODD, tmp_path / "new" / "confusion.png")
    assert {path.read_bytes()[:4] for path in (tmp_path / "new").iterdir()} == {b"\x89PNG"}


def test_weights_that_are_all_zero_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw_attention(np.zeros((2, 3, 3)), list("abc"), list("abc"), tmp_path / "map.png", "nothing")
    assert (tmp_path / "map.png").exists()


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 2), (0, 2, 3), (1, 1, 1, 2, 3)])
def test_weights_of_another_shape_are_refused(shape, tmp_path):
    with pytest.raises(InputError, match=r"attention of 2 on 3 tokens has the shape \[H 2 3\] or \[L H 2 3\], got \["):
        draw_attention(np.zeros(shape), ["a", "b"], ["x", "y", "z"], tmp_path / "map.png", "wrong")


def test_drawing_without_matplotlib_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"needs the package matplotlib: pip install 'numformer\[plots\]'"):
        draw_confusion_matrix([[1]], ["a"], tmp_path / "map.png")


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: draw_confusion_matrix(np.eye(2), ["a", "b"], path),
        lambda path: draw_attention(uniform(1, 2, 2), ["a", "b"], ["a", "b"], path),
    ],
)
def test_no_other_file_is_drawn_over(draw, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"ends in \.png, got .*notes\.txt"):
        draw(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_map_of_attention_needs_no_title(tmp_path):
    pytest.importorskip("matplotlib")
    draw_attention(uniform(2, 3, 3), ["a", "b", "c"], ["a", "b", "c"], tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG\r\n")
