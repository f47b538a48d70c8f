"""Figures of a run as PNG files: curves, confusion matrix, reconstructions. They do not use pyplot or a display."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from jaxcaps.evaluation.metrics import METRICS, ordered_metrics
from jaxcaps.evaluation.metrics.base import ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colour-blind-safe palette of Okabe and Ito, without yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DPI = 120
# With more classes, counts do not fit into their cells.
MAX_ANNOTATED_CLASSES = 15
# Longer class names are broken into lines.
NAME_WIDTH = 24

# Half the gap between reconstructions, as a share of their side.
GAP = 0.02

SPLITS = ("train", "validation")


@dataclass
class Panel:
    """Curves that share axes: {label: (epochs, values)}."""

    title: str
    logarithmic: bool = False
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def plot_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws every metric of a run against the epoch, with related metrics in one panel.

    Args:
        rows: the records of `metrics.jsonl`: `epoch`, and metrics with the prefix `train/`, `validation/` or none.
            Values that are not finite are left out.
        path: PNG file to write.
    """
    panels = panels_of(rows)
    columns = min(3, max(1, len(panels)))
    lines = max(1, math.ceil(len(panels) / columns))
    width, height = 4.6 * columns, 3.1 * lines
    # Places by arithmetic: matplotlib's layout engines take longer than all the rest.
    figure = new_figure(width, height, layout=None)
    figure.subplots_adjust(
        left=0.85 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.35 / height,
        wspace=0.9 / 3.6, hspace=0.65 / 2.4,
    )  # fmt: skip
    if not panels:
        figure.text(0.5, 0.5, "no metrics yet", ha="center", va="center")
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(lines, columns, number + 1)
        _draw_curves(axes, panel)
        if number + columns >= len(panels):
            axes.set_xlabel("epoch")
    with path.open("wb") as file:
        write_png(figure, file)


def plot_confusion(confusion: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draws a confusion matrix of counts and of percentages of the true class.

    Args:
        confusion: int [true, predicted].
        class_names: the classes in order.
        path: PNG file to write.
    """
    confusion = np.asarray(confusion)
    classes = len(class_names)
    annotated = classes <= MAX_ANNOTATED_CLASSES
    support = confusion.sum(axis=1)
    shares = ratio(confusion, support[:, None])
    size = min(14.0, max(3.0, (0.85 if annotated else 0.25) * classes))
    names = [_wrapped(name) for name in class_names]
    figure = new_figure(size + 2.8, size + 1.6)
    axes = figure.add_subplot()
    # A class without examples has no percentages, so its row is grey.
    axes.set_facecolor("0.88")
    picture = axes.imshow(np.ma.masked_invalid(100 * shares), cmap="Blues", vmin=0, vmax=100)
    if annotated:
        for (row, column), count in np.ndenumerate(confusion):
            share = shares[row, column]
            text = f"{count}" if np.isnan(share) else f"{count}\n{share:.0%}"
            axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.55 else "black")
    ticks = np.arange(classes)
    upright = sum(max(map(len, name.split("\n"))) for name in names) <= 12 * size
    rotation: dict[str, Any] = {} if upright else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, names, parse_math=False, **rotation)
    counted = [f"{name}\n(n = {number})" for name, number in zip(names, support, strict=True)]
    axes.set_yticks(ticks, counted if annotated else names, parse_math=False)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"Confusion of {confusion.sum():,} examples")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(picture, ax=axes, label="% of the true class", fraction=0.046)
    # The picture grows with the names.
    figure.savefig(path, dpi=DPI, bbox_inches="tight")


def _wrapped(name: str) -> str:
    """A class name in at most three lines."""
    return "\n".join(textwrap.wrap(name, NAME_WIDTH, max_lines=3, placeholder=" ...")) or name


def plot_reconstructions(rows: Sequence[Sequence[np.ndarray]], column_titles: Sequence[str], path: Path) -> None:
    """Draws a grid of images, without interpolation.

    Args:
        rows: the images of each row, uint8 [height, width, 3] or [height, width].
        column_titles: one per column.
        path: PNG file to write.
    """
    width, height = 1.7 * len(column_titles), 1.7 * len(rows) + 0.3
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1 - 0.3 / height))
    # All in one system of axes: a layout of many takes seconds.
    for index, row in enumerate(rows):
        for column, (title, image) in enumerate(zip(column_titles, row, strict=True)):
            extent = (column + GAP, column + 1 - GAP, index + 1 - GAP, index + GAP)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=extent)
            if index == 0:
                axes.text(column + 0.5, -GAP, title, fontsize=9, ha="center", va="bottom")
    axes.set(xlim=(0, len(column_titles)), ylim=(len(rows), 0))
    axes.set_axis_off()
    with path.open("wb") as file:
        write_png(figure, file)


def write_png(figure: "Figure", file: IO[bytes]) -> None:
    """Writes a figure. `savefig` would draw it twice."""
    figure.canvas.print_png(file)  # type: ignore[attr-defined]


def new_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = "constrained", dpi: int = DPI
) -> "Figure":
    """Returns an empty figure of this size in inches, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def panels_of(rows: Sequence[Mapping[str, float]]) -> list[Panel]:
    """The finite values of a `metrics.jsonl`, related metrics in one panel, in the order of the figure."""
    panels: dict[str, Panel] = {}
    names = dict.fromkeys(name for row in rows for name in row if name not in ("epoch", "step"))
    for name in names:
        points = np.array([(row["epoch"], row[name]) for row in rows if name in row], np.float64)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points):
            title, label = _place(name)
            panel = panels.setdefault(title, Panel(title, logarithmic="gradient norm" in title))
            panel.curves[label] = (points[:, 0], points[:, 1])
    # The loss and the metrics of the table come first, then the rest in order of appearance.
    shared = (metric.panel or metric.title for metric in ordered_metrics().values())
    order = {title: position for position, title in enumerate(dict.fromkeys(["loss", *shared]))}
    return sorted(panels.values(), key=lambda panel: order.get(panel.title, len(order) + panel.logarithmic))


def _place(name: str) -> tuple[str, str]:
    """The panel of a metric and its label there: `train/loss` is the curve "train" in the panel "loss"."""
    first, *rest = name.split("/")
    split, parts = (first, rest) if first in SPLITS and rest else ("", [first, *rest])
    if parts[0] == "gradient_norm":
        depth = ("gradient norm by layer group", "gradient norm by layer")[len(parts) > 2]
        return depth, "/".join(parts[1:]) or "all"
    if len(parts) > 1:
        # A metric of a probe.
        return f"probes: {_title(parts[-1])}", _title(" ".join([*([split] if split == "train" else []), *parts[:-1]]))
    title = _title(parts[0])
    if parts[0] in METRICS and METRICS[parts[0]].panel:
        return METRICS[parts[0]].panel, f"{split} {title}".strip()
    return title, split


def _title(name: str) -> str:
    """The display name of a metric: its declared title, or for metrics of tasks the name in words."""
    if name in METRICS:
        return METRICS[name].title
    return {"nt_xent": "NT-Xent"}.get(name, name.replace("_", " "))


def _draw_curves(axes: "Axes", panel: Panel) -> None:
    for number, (label, (epochs, values)) in enumerate(panel.curves.items()):
        # Markers show when values were measured, if there is room.
        marker = "o" if len(epochs) <= 40 else ""
        style = ("-", "--", ":")[number // len(COLOURS) % 3]
        colour = COLOURS[number % len(COLOURS)]
        if label in SPLITS:
            colour = COLOURS[SPLITS.index(label)]
        axes.plot(epochs, values, style, color=colour, marker=marker, markersize=3, linewidth=1.4, label=label)
    if panel.logarithmic and all((values > 0).all() for _, values in panel.curves.values()):
        axes.set_yscale("log")
    axes.set_title(panel.title[:1].upper() + panel.title[1:], fontsize=11)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    if any(panel.curves):
        axes.legend(fontsize=7, frameon=False, ncols=1 + (len(panel.curves) > 8))
