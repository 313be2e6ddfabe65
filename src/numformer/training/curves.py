"""The picture of a run: curves.png."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from numformer._files import write_atomically

SERIES = (("loss", "training", "#9ecae1", 1.0), ("val_loss", "validation", "#d94801", 2.0))


def draw_curves(metrics: list[dict[str, Any]], path: Path) -> bool:
    """Draw loss and learning rate against the step; returns False when matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for key, label, colour, width in SERIES:
        points = [(line["step"], line[key]) for line in metrics if key in line]
        if points:
            marker = "o" if key == "val_loss" else ""
            axes.plot(
                *zip(*points, strict=True), color=colour, linewidth=width, marker=marker, markersize=4, label=label
            )
    lowest = min((line for line in metrics if "val_loss" in line), key=lambda line: line["val_loss"], default=None)
    if lowest:
        axes.annotate(
            f"{lowest['val_loss']:.3f}",
            (lowest["step"], lowest["val_loss"]),
            textcoords="offset points",
            xytext=(0, 9),
            ha="right",
            color="#d94801",
        )
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    rates = [(line["step"], line["lr"]) for line in metrics if "lr" in line]
    if len({rate for _, rate in rates}) > 1:
        right = axes.twinx()
        right.plot(*zip(*rates, strict=True), color="#969696", linestyle=":", linewidth=1.2, label="learning rate")
        right.set_ylabel("learning rate", color="#737373")
        right.set_ylim(bottom=0.0)
        right.spines[["top"]].set_visible(False)
    if axes.lines:
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    write_atomically(path, picture.getvalue())
    return True
