"""The sections about the predictions of a classifier, alone and beside another run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcaps.data.sources import anonymous
from jaxcaps.evaluation.one_against_rest import score_classes
from jaxcaps.reporting import tables
from jaxcaps.reporting.charts import draw
from jaxcaps.reporting.comparison import Comparison, run_names
from jaxcaps.reporting.figures import threshold_charts
from jaxcaps.reporting.inputs import Inputs
from jaxcaps.reporting.pictures import picture_uri
from jaxcaps.reporting.results import Predicted
from jaxcaps.reporting.tables import MOST_IN_MATRIX

# Height of the pictures of mistakes and disagreements in pixels, and how many of them are shown.
SIDE = 144
MISTAKES = DISAGREEMENTS = 12


@dataclass(frozen=True)
class Shown:
    """A picture with what a run said of it."""

    uri: str
    name: str
    lines: Sequence[tuple[str, str]]


def classifier_sections(inputs: Inputs, predicted: Predicted) -> dict[str, dict[str, Any]]:
    """The sections by name, in order."""
    groups = predicted.groups if inputs.split.has_groups else None
    scores = score_classes(predicted.labels, predicted.probabilities, predicted.classes, groups)
    metrics, names = inputs.results.metrics, predicted.classes
    known = predicted.labels >= 0
    support = np.bincount(predicted.labels[known], minlength=len(names))
    confusion = np.array(metrics["confusion_matrix"])
    shares = np.divide(confusion, support[:, None], out=np.full(confusion.shape, np.nan), where=support[:, None] > 0)
    by_name = [f"{name} ({count})" for name, count in zip(names, support, strict=True)]
    sections: dict[str, dict[str, Any]] = {
        "scores": {
            "metrics": tables.metrics(metrics),
            "classes": tables.classes(names, scores, support, metrics.get("majority_baseline", {})),
            "notes": metrics.get("notes", []),
            "resamples": scores.resamples,
            "grouped": inputs.split.has_groups,
        }
    }
    if inputs.results.scored:
        sections["elsewhere"] = {
            "scored": [
                (name, anonymous(each["data"]) if "data" in each else "", tables.metrics(each))
                for name, each in inputs.results.scored.items()
            ]
        }
    sections["confusion"] = {
        "matrix": tables.heat(by_name, names, confusion, shares, "d") if len(names) <= MOST_IN_MATRIX else None,
        "classes": len(names),
    }
    sections["thresholds"] = {
        "charts": list(map(draw, threshold_charts(predicted))),
        "points": tables.operating_points(names, scores),
        "resamples": scores.resamples,
    }
    sections["mistakes"] = _mistakes(predicted, inputs.split.read)
    return sections


def _mistakes(predicted: Predicted, read: Callable[[int], np.ndarray]) -> dict[str, Any]:
    """The mistakes with the highest probability of the predicted class."""
    wrong = np.flatnonzero((predicted.labels >= 0) & (predicted.predicted != predicted.labels))
    confidence = predicted.probabilities.max(axis=1)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    shown = [
        Shown(
            picture_uri(read(int(row)), SIDE),
            predicted.names[row],
            [
                ("predicted", _said(predicted, row, predicted.predicted[row])),
                ("true", _said(predicted, row, predicted.labels[row])),
            ],
        )
        for row in worst
    ]
    return {"shown": shown, "count": len(wrong), "scored": int(np.sum(predicted.labels >= 0))}


def _said(predicted: Predicted, row: int, number: int) -> str:
    return f"{predicted.classes[number]} {predicted.probabilities[row, number]:.2f}"


def comparison(inputs: Inputs, found: Comparison) -> dict[str, Any]:
    """The run of the page beside another one."""
    mine = inputs.results.predicted
    assert mine is not None
    names = run_names(inputs.results, found.other)
    shown = []
    for row in found.disagreements[:DISAGREEMENTS].tolist():
        label = mine.labels[row]
        lines = [("true", mine.classes[label] if label >= 0 else "unlabelled")]
        for name, probabilities in zip(names, (mine.probabilities, found.probabilities), strict=True):
            best = int(probabilities[row].argmax())
            verdict = "" if label < 0 else "\u00a0✓" if best == label else "\u00a0✗"
            lines.append((name, f"{mine.classes[best]}\u00a0{probabilities[row, best]:.2f}{verdict}"))
        shown.append(Shown(picture_uri(inputs.split.read(row), SIDE), mine.names[row], lines))
    return {
        "names": names,
        "table": tables.differences(found, *names),
        "shown": shown,
        "count": len(found.disagreements),
        "pictures": len(mine.names),
        "only_mine": found.only_mine,
        "only_theirs": found.only_theirs,
    }
