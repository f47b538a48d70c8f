"""The tables of the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcaps.evaluation.metrics import METRICS, ordered_metrics
from jaxcaps.evaluation.one_against_rest import OPERATING_POINT, ClassScores
from jaxcaps.evaluation.paired import Estimate
from jaxcaps.reporting.comparison import Comparison

UNDEFINED = "–"  # noqa: RUF001

# A larger matrix is not readable as a table.
MOST_IN_MATRIX = 30


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what it says.
        detail: a second line in small print.
        key: what its column is sorted by; empty to sort by the text.
        share: of the colour of a heat map, in [0, 1]; negative for none.
        mark: "good" or "bad" to colour the text.
    """

    text: str
    detail: str = ""
    key: str = ""
    share: float = -1.0
    mark: str = ""


class Table(NamedTuple):
    """A table. Columns after the first `text_columns` are numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text_columns: int = 1
    sortable: bool = False


def number(value: float, interval: Sequence[float] = (), form: str = ".3f") -> Cell:
    """A number, with its interval below it."""
    if not math.isfinite(value):
        return Cell(UNDEFINED, key="-1")
    defined = len(interval) == 2 and all(map(math.isfinite, interval))
    detail = f"[{interval[0]:{form}}, {interval[1]:{form}}]" if defined else ""
    return Cell(f"{value:{form}}", detail, key=f"{value:.9g}")


def _metric(name: str) -> Cell:
    """The title of a metric, with an arrow to its better end."""
    return Cell(f"{METRICS[name].title} {'↑' if METRICS[name].higher_is_better else '↓'}")


def metrics(found: Mapping[str, Any]) -> Table:
    """The metrics of a `metrics.json` with intervals, beside the majority baseline."""
    intervals, baseline = found.get("intervals", {}), found.get("majority_baseline", {})
    rows = [
        [
            _metric(name),
            number(found[name], intervals.get(name, ())),
            number(baseline.get(name, math.nan)),
        ]
        for name in ordered_metrics()
        if name in found
    ]
    return Table(["metric", "this run", "majority baseline"], rows)


def classes(names: Sequence[str], scores: ClassScores, support: np.ndarray, baseline: Mapping[str, Any]) -> Table:
    """Scores of each class with intervals, beside those of the majority baseline."""
    shown = {"recall": "recall", "precision": "precision", "specificity": "specificity", "f1": "F1"}
    of_baseline = baseline.get("per_class", {})
    rows = [
        [
            Cell(name),
            number(int(support[index]), form="d"),
            *(number(scores.values[score][index], scores.intervals[score][index]) for score in shown),
            *(number(of_baseline.get(name, {}).get(score, math.nan)) for score in ("recall", "f1")),
        ]
        for index, name in enumerate(names)
    ]
    columns = ["class", "pictures", *shown.values(), "recall of the baseline", "F1 of the baseline"]
    return Table(columns, rows, sortable=True)


def operating_points(names: Sequence[str], scores: ClassScores) -> Table:
    """Areas under the curves and operating points of each class against the rest."""
    rows = []
    for index, name in enumerate(names):
        row = [Cell(name)]
        for score in ("roc_auc", "average_precision"):
            row.append(number(scores.values[score][index], scores.intervals[score][index]))
        for score in ("sensitivity_at_specificity", "specificity_at_sensitivity"):
            row.append(number(scores.values[score][index], scores.intervals[score][index]))
            row.append(number(scores.thresholds[score][index]))
        rows.append(row)
    point = f"{OPERATING_POINT:g}"
    columns = ["class", "ROC-AUC", "average precision", f"sensitivity at specificity {point}", "threshold",
               f"specificity at sensitivity {point}", "threshold"]  # fmt: skip
    return Table(columns, rows, sortable=True)


def heat(rows: Sequence[str], columns: Sequence[str], values: np.ndarray, shares: np.ndarray, form: str) -> Table:
    """A matrix with coloured cells; a share that is NaN is not coloured."""
    cells = [
        [
            Cell(name),
            *(
                number(value, form=form)._replace(share=-1.0 if np.isnan(share) else float(share))
                for value, share in zip(line, part, strict=True)
            ),
        ]
        for name, line, part in zip(rows, values.tolist(), shares, strict=True)
    ]
    return Table(["", *columns], cells)


def differences(found: Comparison, mine: str, other: str) -> Table:
    """Every metric of two runs and the paired difference, marked if its interval excludes 0."""
    rows = []
    for name, gap in found.differences.items():
        first, second = found.levels[name]
        better = (gap.value > 0) == METRICS[name].higher_is_better
        clear = gap.low > 0 or gap.high < 0
        rows.append(
            [
                _metric(name),
                _estimate(gap, "+.3f")._replace(mark=("good" if better else "bad") if clear else ""),
                _estimate(first),
                _estimate(second),
            ]
        )
    return Table(["metric", "difference", mine, other], rows)


def _estimate(of: Estimate, form: str = ".3f") -> Cell:
    return number(of.value, (of.low, of.high), form)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[list[Cell]]:
    """Rows of names and values of a nested mapping, in words."""
    rows = []
    for name, value in values.items():
        title = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += flat(value, f"{title}: ")
        elif isinstance(value, float):
            rows.append([Cell(title), Cell(f"{value:.4g}" if math.isfinite(value) else UNDEFINED)])
        elif not isinstance(value, list):
            rows.append([Cell(title), Cell(str(value))])
    return rows
