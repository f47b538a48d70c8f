"""Charts: one description, drawn as an interactive figure of Bokeh and as a picture of Matplotlib.

The picture stands in for the figure on paper and where scripts are off.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from jaxcaps.evaluation.plots import COLOURS, new_figure, write_png
from jaxcaps.reporting.pictures import data_uri

# Black would vanish in the dark.
PALETTE = (*COLOURS[:-1], "#888888")
# Legible on white and in the dark.
BARS = COLOURS[4]
# With more points, a line has no markers.
MOST_MARKERS = 40
STILL_DPI = 100
# Curves with the same colour differ in their dashes, and points in their markers.
DASHES = ("solid", "dashed", "dotted", "dashdot")
MARKERS = (("circle", "o"), ("square", "s"), ("triangle", "^"), ("diamond", "D"), ("inverted_triangle", "v"))
# More entries do not fit below a chart on a phone.
MOST_IN_LEGEND = 12
# Characters in a line of a legend on a phone.
LEGEND_WIDTH, LONGEST_ENTRY = 48, 36


@dataclass(frozen=True)
class Series:
    """A curve, or points, of a chart.

    Attributes:
        label: its name in the legend; empty for none.
        x, y: float [n].
        columns: further columns [n] of its table, which the tooltip of the chart shows.
        mark: line, points, or bars from 0 with `x` as their centres.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    mark: Literal["line", "points", "bars"] = "line"


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        name: identifies it in the page.
        title: the heading above it.
        x_label, y_label: titles of the axes.
        series: what it draws.
        unit: both axes run from 0 to 1.
        diagonal: from (0, 0) to (1, 1), for a reference.
        logarithmic: whether the y-axis is.
        bare: without axes, because the coordinates have no meaning.
        tooltip: rows of (title, Bokeh's format) or HTML of Bokeh; Bokeh escapes the values.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    unit: bool = False
    diagonal: bool = False
    logarithmic: bool = False
    bare: bool = False
    tooltip: Sequence[tuple[str, str]] | str = ()


@dataclass(frozen=True)
class Drawn:
    """A chart as the page takes it: Bokeh's JSON, and a picture as data URI, empty for none."""

    name: str
    title: str
    item: dict[str, Any]
    still: str


def draw(chart: Chart, *, still: bool = True) -> Drawn:
    """Draws a chart in both forms, or without the picture."""
    from bokeh.embed import json_item

    return Drawn(chart.name, chart.title, dict(json_item(_live(chart))), _still(chart) if still else "")


def _legend_columns(chart: Chart) -> int:
    """The number of columns of a legend that fit on a phone."""
    return max(1, min(4, LEGEND_WIDTH // (max(len(_entry(one)) for one in chart.series) + 5)))


def _entry(one: Series) -> str:
    """The label of a series as the legend shows it."""
    half = LONGEST_ENTRY // 2
    # The ends of long names differ more often than their beginnings, and entries with one label would be joined.
    return one.label if len(one.label) <= LONGEST_ENTRY else f"{one.label[: half - 1]}…{one.label[-half:]}"


def _logarithmic(chart: Chart) -> bool:
    return chart.logarithmic and all((one.y > 0).all() for one in chart.series)


def _live(chart: Chart) -> Any:
    from bokeh.models import ColumnDataSource, HoverTool, Range1d
    from bokeh.plotting import figure

    # Bokeh's properties accept more types than they declare.
    plot: Any = figure(
        height=420 if chart.bare else 320,
        sizing_mode="stretch_width",
        y_axis_type="log" if _logarithmic(chart) else "linear",
        x_axis_label=chart.x_label,
        y_axis_label=chart.y_label,
        # The page shows the picture of a point that is tapped: there is no hovering on a phone.
        tools="pan,box_zoom,wheel_zoom,reset" + (",tap" if chart.bare else ""),
        # A drag or pinch on a phone scrolls the page.
        active_drag=None,
        active_scroll=None,
        toolbar_location="above",
    )
    plot.toolbar.logo = None
    plot.background_fill_color = plot.border_fill_color = None
    plot.outline_line_color = None
    if chart.unit:
        plot.x_range, plot.y_range = Range1d(start=-0.02, end=1.02), Range1d(start=-0.02, end=1.02)
    if chart.bare:
        plot.axis.visible = plot.grid.visible = False
    if chart.diagonal:
        plot.line([0, 1], [0, 1], color="#888888", line_dash="dotted")
    shown: list[Any] = []
    for number, one in enumerate(chart.series):
        source = ColumnDataSource({"x": one.x, "y": one.y, "label": [one.label] * len(one.x), **one.columns})
        colour = PALETTE[number % len(PALETTE)]
        named = {"legend_label": _entry(one)} if one.label and len(chart.series) <= MOST_IN_LEGEND else {}
        if one.mark == "bars":
            width = float(np.diff(one.x[:2])[0]) * 0.9 if len(one.x) > 1 else 0.9
            bars = plot.vbar(x="x", top="y", width=width, color=BARS, source=source, **named)
            shown.append(bars)
            continue
        if one.mark == "line":
            dash = DASHES[number // len(PALETTE) % len(DASHES)]
            plot.line("x", "y", source=source, color=colour, line_width=2, line_dash=dash, **named)
        size = 8 if one.mark == "points" else 4 if len(one.x) <= MOST_MARKERS else 0.1
        marker = MARKERS[number // len(PALETTE) % len(MARKERS)][0]
        # The name lets the page find points that it recolours.
        points = plot.scatter(
            "x", "y", source=source, size=size, marker=marker, line_color=None, fill_color=colour,
            fill_alpha=0.8, nonselection_fill_alpha=0.8, name="points" if one.mark == "points" else None, **named,
        )  # fmt: skip
        shown.append(points)
    tips = chart.tooltip or [("", "@label"), (chart.x_label, "@x{0.[000]}"), (chart.y_label, "@y{0.[0000]}")]
    plot.add_tools(HoverTool(renderers=shown, tooltips=tips if isinstance(tips, str) else list(tips)))
    if plot.legend:
        legend = plot.legend[0]
        legend.click_policy = "hide"
        plot.add_layout(legend, "below")
        legend.orientation, legend.location = "horizontal", "left"
        legend.ncols = _legend_columns(chart)
        legend.background_fill_color = legend.border_line_color = None
        legend.label_text_font_size = "12px"
        legend.spacing, legend.padding, legend.margin = 4, 2, 2
    return plot


def _still(chart: Chart) -> str:
    figure = new_figure(5.4, 4.2 if chart.unit or chart.bare else 3.4, dpi=STILL_DPI)
    axes = figure.add_subplot()
    if chart.diagonal:
        axes.plot([0, 1], [0, 1], ":", color="#888888", linewidth=1)
    for number, one in enumerate(chart.series):
        colour = PALETTE[number % len(PALETTE)]
        if one.mark == "bars":
            width = float(np.diff(one.x[:2])[0]) * 0.9 if len(one.x) > 1 else 0.9
            axes.bar(one.x, one.y, width, color=BARS, label=_entry(one))
        elif one.mark == "points":
            marker = MARKERS[number // len(PALETTE) % len(MARKERS)][1]
            axes.scatter(one.x, one.y, s=14, color=colour, marker=marker, linewidth=0, label=_entry(one))
        else:
            dash = DASHES[number // len(PALETTE) % len(DASHES)]
            marker = "o" if len(one.x) <= MOST_MARKERS else ""
            axes.plot(one.x, one.y, linestyle=dash, color=colour, marker=marker, markersize=3, label=_entry(one))
    if chart.unit:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if _logarithmic(chart):
        axes.set_yscale("log")
    axes.set_xlabel(chart.x_label, parse_math=False)
    axes.set_ylabel(chart.y_label, parse_math=False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if chart.bare:
        axes.set_axis_off()
    if any(one.label for one in chart.series) and len(chart.series) <= MOST_IN_LEGEND:
        legend = figure.legend(loc="outside lower center", ncols=_legend_columns(chart), fontsize=7, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    stream = io.BytesIO()
    write_png(figure, stream)
    return data_uri(stream.getvalue(), "png")
