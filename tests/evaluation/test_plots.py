"""Figures."""

import numpy as np
import pytest

from jaxcaps.evaluation import comparison_plots
from jaxcaps.evaluation.comparison_plots import plot_differences
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.evaluation.paired import Estimate
from jaxcaps.evaluation.plots import COLOURS, new_figure, panels_of, plot_confusion, plot_curves, plot_reconstructions


def test_figures_are_drawn(tmp_path):
    rows = [{"step": n, "epoch": n, "train/loss": 1 / (n + 1), "validation/accuracy": n / 9} for n in range(9)]
    plot_curves(rows, tmp_path / "curves.png")
    plot_confusion(np.array([[3, 1], [0, 2]]), ("a", "b"), tmp_path / "confusion.png")
    plot_reconstructions([[np.zeros((8, 8, 3), np.uint8)] * 2] * 3, ["one", "two"], tmp_path / "reconstructions.png")
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())


def test_panels_and_curves_are_named_as_the_metrics_say():
    names = ["train/nt_xent", "validation/ece", "validation/mcc", "validation/cohen_kappa", "train/loss"]
    names += ["validation/linear_probe/balanced_accuracy"]
    panels = panels_of([{"epoch": 0, "step": 0} | dict.fromkeys(names, 0.5)])
    assert {panel.title: list(panel.curves) for panel in panels} == {
        "loss": ["train"],
        "agreement beyond chance": ["validation MCC", "validation Cohen's kappa"],
        "calibration error (ECE)": ["validation"],
        "NT-Xent": ["train"],
        "probes: balanced accuracy": ["linear probe"],
    }
    assert [panel.title for panel in panels][:3] == ["loss", "agreement beyond chance", "calibration error (ECE)"]


@pytest.mark.parametrize(("metric", "colour"), [("accuracy", COLOURS[1]), ("ece", COLOURS[2])])
def test_the_colour_of_a_difference_goes_by_the_metrics_direction(metric, colour, tmp_path, monkeypatch):
    figure = new_figure(3, 3)
    monkeypatch.setattr(comparison_plots, "new_figure", lambda *_: figure)
    plot_differences({"arm": Estimate(-0.2, -0.3, -0.1, 0.01)}, METRICS[metric], tmp_path / "figure.png")
    assert figure.axes[0].get_lines()[0].get_color() == colour
    assert METRICS[metric].title in figure.axes[0].get_xlabel()
