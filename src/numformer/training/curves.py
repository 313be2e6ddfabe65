"""The picture of a run: curves.png."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numformer._files import write_atomically
from numformer.training.metrics import best_of

RAW, SMOOTH, VALIDATION, RATE = "#c6dbef", "#3182bd", "#d94801", "#969696"
SMOOTHED = 20  # A line of so many points and more is hard to see through its noise.


def draw_curves(metrics: list[dict[str, Any]], path: Path, loss_unit: str) -> bool:
    """Draw loss, learning rate and what chose the best step; returns False when matplotlib is not installed.

    `loss_unit` is what the loss is in, such as "nats per token". What chose the best step has a panel of its own unless it
    is the loss, and the best step is marked where it was measured.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    best = best_of(metrics)
    apart = best is not None and best.criterion != "loss"
    figure = Figure(figsize=(7.0, 6.0 if apart else 4.2), layout="constrained")
    panels = figure.subplots(1 + apart, 1, sharex=True, squeeze=False, height_ratios=[2, 1] if apart else [1])[:, 0]
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set(xlabel="step")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    panels[0].set(ylabel=f"loss ({loss_unit})")
    _draw_training(panels[0], *_points(metrics, "loss"))
    _draw_validation(panels[0], *_points(metrics, "val_loss"))
    if best and apart:
        panels[1].set(ylabel=best.criterion)
        _draw_validation(panels[1], *_points(metrics, f"val_{best.criterion}"))
    if best:
        ring = {"linestyle": "", "marker": "o", "markersize": 10, "fillstyle": "none", "color": VALIDATION}
        panels[-1].plot([best.step], [best.value], label=f"best: {best}", **ring)
    _draw_rate(panels[0], *_points(metrics, "lr"))
    if panels[0].lines:
        figure.legend(*_entries(figure), loc="outside upper center", ncols=3, frameon=False)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    write_atomically(path, picture.getvalue())
    return True


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Return the means over a window around each value, a twentieth of the whole wide, cut off at both ends."""
    sums, half, number = np.concatenate([[0.0], np.cumsum(values)]), len(values) // 40, np.arange(len(values))
    first, end = np.maximum(number - half, 0), np.minimum(number + half + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


def _points(metrics: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    found = [(line["step"], line[key]) for line in metrics if key in line]
    return [step for step, _ in found], [value for _, value in found]


def _draw_training(axes: Any, steps: list[int], values: list[float]) -> None:
    if len(steps) < SMOOTHED:
        axes.plot(steps, values, color=SMOOTH, linewidth=1.5, label="training")
        return
    axes.plot(steps, values, color=RAW, linewidth=0.8, label="training")
    axes.plot(steps, smoothed(values), color=SMOOTH, linewidth=1.5, label="training, smoothed")


def _draw_validation(axes: Any, steps: list[int], values: list[float]) -> None:
    if steps:
        axes.plot(steps, values, color=VALIDATION, linewidth=2.0, marker="o", markersize=4, label="validation")


def _draw_rate(axes: Any, steps: list[int], rates: list[float]) -> None:
    """Draw the learning rate against the right edge, where it changes."""
    if len(set(rates)) < 2:
        return
    right = axes.twinx()
    right.plot(steps, rates, color=RATE, linestyle=":", linewidth=1.2, label="learning rate")
    right.set_ylabel("learning rate", color="#737373")
    right.set_ylim(bottom=0.0)
    right.spines[["top"]].set_visible(False)


def _entries(figure: Any) -> tuple[list[Any], list[str]]:
    """Return the lines of all panels and their names, each name once."""
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    named = {label: line for label, line in lines.items() if not label.startswith("_")}
    return list(named.values()), list(named)
