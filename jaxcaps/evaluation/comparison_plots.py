"""Figures of a study as PNG files: differences with their intervals, and convergence."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric
from jaxcaps.evaluation.paired import Estimate
from jaxcaps.evaluation.plots import COLOURS, DPI, new_figure

# The axis of epochs is logarithmic if the longest run is more than this many times as long as the shortest.
LONG = 3


def plot_differences(estimates: Mapping[str, Estimate], metric: Metric, path: Path) -> None:
    """Draws each difference from the reference, with its 95% interval, on its own line, the first on top.

    An interval that excludes 0 is green if the metric is better than the reference's, else red.

    Args:
        estimates: estimates by name of the line.
        metric: the metric shown.
        path: PNG file to write.
    """
    figure = new_figure(7, 1.2 + 0.3 * len(estimates))
    axes = figure.add_subplot()
    places = np.arange(len(estimates))[::-1]
    for place, found in zip(places, estimates.values(), strict=True):
        better = (found.value > 0) == metric.higher_is_better
        colour = COLOURS[0] if found.low <= 0 <= found.high else COLOURS[2] if better else COLOURS[1]
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2)
        axes.plot([found.value], [place], "o", color=colour)
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_yticks(places, list(estimates), parse_math=False)
    axes.set_ylim(-0.7, len(estimates) - 0.3)
    axes.set_xlabel(f"{metric.title}, difference from the reference")
    axes.grid(axis="x", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=DPI)


Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


def plot_convergence(panels: Mapping[str, Curves], title: str, path: Path) -> None:
    """Draws the mean and the interquartile range of a metric over runs against the epoch, in panels side by side.

    Args:
        panels: {panel: {line: (epochs [evaluations], values [runs, evaluations])}}.
        title: title of the axis.
        path: PNG file to write.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = new_figure(2 + 4.5 * len(panels), 4.5)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    ends = [epochs[-1] for curves in panels.values() for epochs, _ in curves.values()]
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (panel, curves) in zip(every, panels.items(), strict=True):
        for name, (epochs, values) in curves.items():
            number = names.index(name)
            colour, style = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
            axes.plot(epochs, values.mean(axis=0), style, color=colour, marker="o", markersize=3, label=name)
            if len(values) > 3:
                low, high = np.percentile(values, [25, 75], axis=0)
                axes.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_title(panel, fontsize=9, parse_math=False)
        axes.set_xlabel("epoch of fine-tuning")
        if max(ends) > LONG * min(ends):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    every[0].set_ylabel(title)
    lines = {line.get_label(): line for axes in every for line in axes.get_lines()}
    every[-1].legend(
        [lines[name] for name in names], names, fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    figure.savefig(path, dpi=DPI)
