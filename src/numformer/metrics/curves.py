"""A picture of how numbers went, for a loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from numformer.errors import InputError
from numformer.metrics.heat_maps import _figure, _save, check_picture

Curve: TypeAlias = Sequence[float] | Mapping[int, float]  # a number for each step from 1, or for some steps


def draw_curves(curves: Mapping[str, Curve], path: str | Path, ylabel: str = "loss") -> None:
    """Draw each curve against the step: `draw_curves({"training": losses, "validation": {100: 2.3}}, "curves.png")`.

    A curve is a list of numbers, the first of which belongs to step 1, or a dict of numbers by step. Raises InputError
    when there is no number, when `path` does not end in .png, and when matplotlib is not installed.
    """
    check_picture(path)
    points = {
        name: dict(curve) if isinstance(curve, Mapping) else dict(enumerate(curve, 1)) for name, curve in curves.items()
    }
    if not any(points.values()):
        raise InputError("there is no number to draw: every curve is empty")
    figure = _figure(7.0, 4.2)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlabel="step", ylabel=ylabel)
    for name, values in points.items():
        marker = "o" if len(values) < 30 else ""  # few values, such as those of validation, are seen one by one
        axes.plot(list(values), list(map(float, values.values())), marker=marker, markersize=4, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)
