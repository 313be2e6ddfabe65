"""Heat maps: a confusion matrix, and what every head of an attention layer attends to."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numformer._files import write_atomically
from numformer.errors import InputError

COLOURS = "Blues"
LONGEST_LABEL = 36  # characters; what is longer is cut
MOST_CLASSES_WITH_COUNTS = 15
MOST_COLUMNS = 4  # of the grid of one layer's heads
LINE, CHARACTER = 0.13, 0.1  # inches that a line and a character of a label take
GAP, HEADING = 0.15, 0.3  # inches between maps, and above each for its name
# Inches that a token takes and a map may take, alone and among others; those that all maps together may take.
TOKEN_ALONE, MAP_ALONE, TOKEN, MAP, SHEET = 0.3, 16.0, 0.18, 2.6, 60.0
DPI = 120  # pixels of an inch
FEWEST_PIXELS = 2  # of a token in one of many maps, while the sheet has room


def check_picture(path: str | Path) -> None:
    """Raise InputError unless a path is that of a PNG picture, so that no other file is drawn over."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"a picture is written to a file that ends in .png, got {path}")


def draw_confusion_matrix(matrix: ArrayLike, labels: Sequence[str], path: str | Path) -> None:
    """Draw a matrix [C C] of counts (rows gold, columns predicted), coloured by the share of its row.

    The scale of the colours is that of the square root, which lets rare mistakes be seen. Raises InputError when the
    shape and the labels disagree, when `path` does not end in .png, and when matplotlib is not installed.
    """
    check_picture(path)
    counts = np.asarray(matrix)
    C = len(labels)
    if not C or counts.shape != (C, C):
        raise InputError(f"a confusion matrix of {C} labels has the shape [{C} {C}], got {list(counts.shape)}")
    few = C <= MOST_CLASSES_WITH_COUNTS
    side = C * max(0.6, 2.0 / C, CHARACTER * len(f"{counts.max():,}")) if few else min(0.17 * C, 14.0)
    figure = _figure(side, side)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap=COLOURS, norm=_square_root())
    if few:
        for (i, j), count in np.ndenumerate(counts):
            axes.text(j, i, f"{count:,}", ha="center", va="center", color="white" if shares[i, j] > 0.4 else "black")
    _label_rows(axes, labels, side)
    _label_columns(axes, labels, side)
    axes.set(xlabel="predicted", ylabel="gold")
    axes.set_title(f"accuracy {100.0 * counts.trace() / max(counts.sum(), 1):.1f} % of {counts.sum():,}")
    _add_colour_bar(figure, image, "share of the gold label")
    _save(figure, path)


def draw_attention(
    weights: ArrayLike, query_tokens: Sequence[str], key_tokens: Sequence[str], path: str | Path, title: str = ""
) -> None:
    """Draw what each query (row) attends to, one map for each head of weights [H T S] or [L H T S].

    With layers, each is a row of maps. Where there is no room to name all tokens, one in so many is named.
    Raises InputError when the shape and the tokens disagree, when `path` does not end in .png, and when matplotlib is not
    installed.
    """
    check_picture(path)
    array = np.asarray(weights)
    T, S = len(query_tokens), len(key_tokens)
    if array.ndim not in (3, 4) or array.shape[-2:] != (T, S) or not array.size:
        raise InputError(
            f"attention of {T} on {S} tokens has the shape [H {T} {S}] or [L H {T} {S}], got {list(array.shape)}"
        )
    maps = array.reshape(-1, T, S)
    names = _names(array.shape[:-2])
    rows, columns = _grid(array.shape[:-2])
    cell, most = (TOKEN_ALONE, MAP_ALONE) if len(maps) == 1 else (TOKEN, _most(max(T, S), max(rows, columns)))
    width, height = max(min(cell * S, most), 1.2), max(min(cell * T, most), 0.3)
    figure = _figure(columns * (width + GAP) - GAP, rows * (height + HEADING) - HEADING)
    total_width, total_height = figure.get_size_inches()
    # By default some maps are blurred along both axes, where the pixels of a token are few along one.
    sharp = DPI * min(width / S, height / T) >= 0.99 * FEWEST_PIXELS
    for place, (name, map_) in enumerate(zip(names, maps, strict=True)):
        row, column = divmod(place, columns)
        left, bottom = column * (width + GAP), total_height - row * (height + HEADING) - height
        box = left / total_width, bottom / total_height, width / total_width, height / total_height
        axes = figure.add_axes(box, xticks=[], yticks=[])
        axes.set_title(name, fontsize=10.0)
        image = axes.imshow(map_, cmap=COLOURS, vmin=0.0, vmax=array.max(), aspect="auto")
        image.set_interpolation("nearest" if sharp else "auto")
        if column == 0:
            _label_rows(axes, _visible_spaces(query_tokens), height)
            axes.set_ylabel("token")
        if place + columns >= len(maps):
            _label_columns(axes, _visible_spaces(key_tokens), width)
            axes.set_xlabel("attends to")
    _add_colour_bar(figure, image, "attention weight")
    heading = HEADING if names[0] else 0.1
    figure.suptitle(_printable(title), y=1.0 + heading / total_height, va="bottom", parse_math=False)
    _save(figure, path)


def _grid(heads: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of maps for heads [H] or [L H]."""
    if len(heads) == 2:
        return heads[0], heads[1]
    rows = math.ceil(heads[0] / MOST_COLUMNS)
    return rows, math.ceil(heads[0] / rows)


def _most(tokens: int, maps: int) -> float:
    """Return the inches that one of so many maps in a row or column may take, of sequences of so many tokens."""
    return min(max(MAP, FEWEST_PIXELS * tokens / DPI), SHEET / maps)


def _names(heads: tuple[int, ...]) -> list[str]:
    if heads == (1,):
        return [""]
    parts = ("layer", "head")[-len(heads) :]
    return [", ".join(f"{part} {i}" for part, i in zip(parts, index, strict=True)) for index in np.ndindex(*heads)]


def _label_rows(axes: Any, labels: Sequence[str], height: float) -> None:
    """Write a label to every row, or to as many as have room in `height` inches."""
    step = math.ceil(LINE * len(labels) / height)
    texts = [_short(label) for label in labels[::step]]
    axes.set_yticks(range(0, len(labels), step), texts, fontsize=_font_size(len(labels), height), parse_math=False)


def _label_columns(axes: Any, labels: Sequence[str], width: float) -> None:
    """Write a label to every column, or to as many as have room in `width` inches, upright if they are long."""
    step = math.ceil(LINE * len(labels) / width)
    texts = [_short(label) for label in labels[::step]]
    axes.set_xticks(range(0, len(labels), step), texts, fontsize=_font_size(len(labels), width), parse_math=False)
    if CHARACTER * max(map(len, texts)) > step * width / len(labels):
        axes.tick_params(axis="x", rotation=90)


def _font_size(count: int, length: float) -> float:
    return 9.0 if length / count >= 0.2 else 7.0


def _visible_spaces(tokens: Sequence[str]) -> list[str]:
    return [token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") for token in tokens]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _short(label: str) -> str:
    text = _printable(label)
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def _figure(width: float, height: float) -> Any:
    """Return a figure of that many inches, to which `_save` adds the room that labels need around it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("drawing needs the package matplotlib: pip install 'numformer[plots]'") from error
    return Figure(figsize=(width, height), dpi=DPI)


def _square_root() -> Any:
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0.0, vmax=1.0)


def _add_colour_bar(figure: Any, image: Any, label: str) -> None:
    width, height = figure.get_size_inches()
    length = min(max(height, 1.2), 3.0)
    box = (1.0 + 0.2 / width, 1.0 - length / height, 0.15 / width, length / height)
    figure.colorbar(image, cax=figure.add_axes(box), label=label)


def _save(figure: Any, path: str | Path) -> None:
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the character is drawn as a box
        figure.savefig(picture, format="png", bbox_inches="tight")
    write_atomically(path, picture.getvalue())
