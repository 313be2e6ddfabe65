"""What the picture of a run shows, read from its axes before they become pixels."""

import numpy as np
import pytest

from numformer.training.curves import draw_curves, smoothed

pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg


@pytest.fixture
def figure(monkeypatch):
    """Return the figure that was drawn last."""
    seen = []
    original = FigureCanvasAgg.print_png

    def remember(self, *arguments, **settings):
        seen.append(self.figure)
        return original(self, *arguments, **settings)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", remember)
    return lambda: seen[-1]


def metrics(steps, criterion="", every=10, validate=50, rate=1e-3):
    lines = []
    for step in range(every, steps + 1, every):
        line = {"step": step, "loss": 3.0 - step / steps, "lr": rate, "seconds": 1.0}
        if validate and step % validate == 0:
            line |= {"val_loss": 2.0 + abs(step - steps / 2) / steps, "val_accuracy": step / steps / 2}
            line |= {"best": f"val_{criterion}"} if criterion == "accuracy" or step <= steps / 2 else {}
        lines.append(line)
    return lines


def curves(axes):
    return {line.get_label(): line for axis in axes for line in axis.lines}


def test_a_loss_that_chose_the_best_is_ringed_in_one_panel(figure, tmp_path):
    assert draw_curves(metrics(2000, "loss"), tmp_path / "curves.png", "nats per token")
    [axes] = figure().axes
    assert axes.get_ylabel() == "loss (nats per token)"
    found = curves([axes])
    assert list(found) == ["training", "training, smoothed", "validation", "best: loss 2.000 at step 1,000"]
    assert found["best: loss 2.000 at step 1,000"].get_xydata().tolist() == [[1000, 2.0]]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_another_criterion_has_a_panel_of_its_own(figure, tmp_path):
    draw_curves(metrics(2000, "accuracy"), tmp_path / "curves.png", "nats per text")
    losses, accuracies = figure().axes
    assert (losses.get_ylabel(), accuracies.get_ylabel()) == ("loss (nats per text)", "accuracy")
    found = curves([accuracies])
    assert found["validation"].get_xydata()[-1].tolist() == [2000, 0.5]
    assert found["best: accuracy 0.5000 at step 2,000"].get_xydata().tolist() == [[2000, 0.5]]


def test_without_validation_there_is_no_best(figure, tmp_path):
    draw_curves(metrics(2000, validate=0), tmp_path / "curves.png", "squared error over variance")
    assert list(curves(figure().axes)) == ["training", "training, smoothed"]


@pytest.mark.parametrize("steps", [0, 10, 20])
def test_a_short_run_is_drawn_as_it_is(figure, tmp_path, steps):
    draw_curves(metrics(steps, "loss", validate=10), tmp_path / "curves.png", "nats per token")
    assert "training, smoothed" not in curves(figure().axes)


def test_a_learning_rate_that_changed_is_drawn(figure, tmp_path):
    lines = metrics(1000, "loss") + [line | {"step": line["step"] + 1000, "lr": 1e-4} for line in metrics(1000)]
    draw_curves(lines, tmp_path / "curves.png", "nats per token")
    assert curves(figure().axes)["learning rate"].get_ydata()[[0, -1]].tolist() == [1e-3, 1e-4]


def test_smoothing_takes_means_around_each_value_and_keeps_a_line_straight():
    values = np.arange(80.0)
    np.testing.assert_allclose(smoothed(values)[2:-2], values[2:-2])
    np.testing.assert_allclose(smoothed([0.0, 2.0] * 40)[10:14], [0.8, 1.2, 0.8, 1.2])
    np.testing.assert_allclose(smoothed([1.0, 5.0]), [1.0, 5.0])
