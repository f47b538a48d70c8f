"""Metrics as text for the terminal; metrics and predictions as files, written atomically."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from data_prep.atomic import writing
from jaxcaps.evaluation.metrics import ordered_metrics
from jaxcaps.evaluation.paired import Estimate

Intervals = Mapping[str, tuple[float, float]]
WIDTH = 100
# Longer names of classes and runs are truncated.
NAME_WIDTH = 28
UNDEFINED = "-"


def metrics_table(
    metrics: Mapping[str, Any], intervals: Intervals | None = None, baseline: Mapping[str, Any] | None = None
) -> str:
    """Formats the metrics, the classes and the confusion matrix as aligned plain text of at most 100 columns.

    Args:
        metrics: result of `classification_metrics`.
        intervals: result of `bootstrap_intervals`; None omits the column.
        baseline: result of `majority_baseline`; None omits the column.
    """
    parts = [_scalars(metrics, intervals, baseline), _classes(metrics["per_class"])]
    parts.append(_confusion(metrics["confusion_matrix"], list(metrics["per_class"])))
    text = "\n\n".join(parts)
    footnotes = [*metrics["notes"]]
    if any(UNDEFINED in line.split() for line in text.splitlines()):
        footnotes.append(f"{UNDEFINED} is 0/0, which is undefined and left out of averages.")
    return "\n".join([text, *(["", *footnotes] if footnotes else [])])


def differences_table(
    names: tuple[str, str], levels: Mapping[str, tuple[Estimate, Estimate]], differences: Mapping[str, Estimate]
) -> str:
    """Formats the metrics of two runs and their paired differences as aligned plain text.

    Args:
        names: of the runs.
        levels: {metric: its value in the first run and in the second}.
        differences: {metric: the first run minus the second}.
    """
    rows = [["metric", *names, "difference", "95% interval"]]
    for metric, found in differences.items():
        rows.append([metric, *(_number(one.value) for one in levels[metric]), _number(found.value, "+.3f")])
        rows[-1].append(_interval(found.low, found.high))
    return _aligned(rows, max(NAME_WIDTH, *map(len, differences)))


def write_predictions(
    path: Path,
    names: Sequence[str],
    groups: Sequence[int] | np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
) -> None:
    """Writes one line per example: name, group, label, predicted and `probability_<class>` of each class.

    Classes are written by name; a label of -1 (unknown) is left empty. Probabilities are written at full precision.
    """
    columns = ["name", "group", "label", "predicted", *(f"probability_{name}" for name in class_names)]
    probabilities = np.asarray(probabilities)
    predicted = probabilities.argmax(axis=1)
    with writing(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        for name, group, label, best, row in zip(names, groups, labels, predicted, probabilities, strict=True):
            known = "" if label == -1 else class_names[label]
            table.writerow([name, group, known, class_names[best], *map(str, row)])


def write_metrics(
    path: Path,
    metrics: Mapping[str, Any],
    intervals: Intervals | None = None,
    baseline: Mapping[str, Any] | None = None,
) -> None:
    """Writes the metrics, and if given the intervals and the majority baseline, as strict JSON: NaN becomes null."""
    whole = dict(metrics)
    if intervals is not None:
        whole["intervals"] = intervals
    if baseline is not None:
        whole["majority_baseline"] = baseline
    text = json.dumps(_plain(whole), indent=2, ensure_ascii=False, allow_nan=False)
    with writing(path) as file:
        file.write(text + "\n")


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes a CSV file with a column for every name in any row, in order of appearance."""
    with writing(path) as file:
        table = csv.DictWriter(
            file, list(dict.fromkeys(name for row in rows for name in row)), restval="", lineterminator="\n"
        )
        table.writeheader()
        table.writerows(rows)


def _plain(value: Any) -> Any:
    """Converts a value to JSON types, with NaN as None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scalars(metrics: Mapping[str, Any], intervals: Intervals | None, baseline: Mapping[str, Any] | None) -> str:
    rows = [["metric", "value"]]
    rows += [[name, _number(metrics[name])] for name in ordered_metrics()]
    if intervals is not None:
        rows[0].append("95% interval")
        for row in rows[1:]:
            row.append(_interval(*intervals[row[0]]))
    if baseline is not None:
        rows[0].append("majority baseline")
        for row in rows[1:]:
            row.append(_number(baseline[row[0]]))
    return _aligned(rows)


def _classes(per_class: Mapping[str, Mapping[str, float]]) -> str:
    columns = ["precision", "recall", "specificity", "f1"]
    rows = [["class", *columns, "support"]]
    for name, values in per_class.items():
        rows.append([name, *(_number(values[column]) for column in columns), str(values["support"])])
    return _aligned(rows, NAME_WIDTH)


def _confusion(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> str:
    """The confusion matrix, with named columns if they fit, else numbered ones."""
    title = "confusion matrix (rows: true, columns: predicted)"
    numbers = [str(number) for number in range(1, len(class_names) + 1)]
    numbered = [f"{number} {name}" for number, name in zip(numbers, class_names, strict=True)]
    # A column takes at least three characters. Do not lay out more classes than fit, which would be slow.
    for head, names in ((class_names, class_names), (numbers, numbered)) if 3 * len(numbers) < WIDTH else ():
        rows = [[name, *map(str, row)] for name, row in zip(names, confusion, strict=True)]
        text = _aligned([["", *head], *rows], NAME_WIDTH)
        if max(map(cell_len, text.splitlines())) <= WIDTH:
            return f"{title}\n{text}"
    return f"{title}: {len(class_names)} classes are too many to print"


def _aligned(rows: Sequence[Sequence[str]], widest: int | None = None) -> str:
    """Plain text with the first column left-aligned, the others right-aligned, and cells cut to `widest` characters."""
    columns = [Column(justify="right" if n else "left", max_width=widest, no_wrap=True) for n in range(len(rows[0]))]
    table = Table.grid(*columns, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(width=10_000, color_system=None)
    with console.capture() as text:
        console.print(table)
    return "\n".join(line.rstrip() for line in text.get().splitlines())


def _number(value: float, form: str = ".3f") -> str:
    return UNDEFINED if math.isnan(value) else f"{value:{form}}"


def _interval(low: float, high: float) -> str:
    return UNDEFINED if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"
