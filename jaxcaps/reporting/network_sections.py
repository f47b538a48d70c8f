"""The sections about what the network makes of validation pictures."""

from typing import Any

import numpy as np

from jaxcaps.reporting import tables
from jaxcaps.reporting.charts import draw
from jaxcaps.reporting.figures import capsule_charts, embedding_chart
from jaxcaps.reporting.inputs import Inputs
from jaxcaps.reporting.observation import Observation
from jaxcaps.reporting.pictures import Sprite, picture_uri
from jaxcaps.reporting.tables import MOST_IN_MATRIX, Cell, Table
from jaxcaps.training.diagnosis import DEAD, SATURATED

# Height of reconstructions in pixels.
MADE = 96


def reconstructions(seen: Observation) -> dict[str, Any]:
    """Each kind of picture as one strip."""
    strips = []
    for title, pictures in seen.made.items():
        pixels = (np.clip(pictures, 0, 1) * 255).round().astype(np.uint8)
        strips.append((title, picture_uri(np.concatenate(list(pixels), axis=1), MADE)))
    return {"strips": strips}


def embedding(inputs: Inputs, thumbnails: Sprite) -> dict[str, Any]:
    """The map of the pictures, given their thumbnails."""
    seen, predicted = inputs.observed, inputs.results.predicted
    chart, method = embedding_chart(
        seen, inputs.split.names, inputs.split.groups, inputs.classes, inputs.split.labels,
        None if predicted is None else predicted.predicted, thumbnails,
    )  # fmt: skip
    groups = inputs.split.groups[seen.rows]
    colours = [("by_class", "class")] if inputs.classes else []
    colours += [("by_prediction", "predicted class")] if predicted is not None else []
    colours += [("by_group", "group")] if len(np.unique(groups)) < len(groups) else []
    return {
        "chart": draw(chart),
        "method": method,
        "pictures": len(seen.rows),
        "of": len(inputs.split),
        "colours": colours,
        "primary": seen.primary is not None,
    }


def capsules(inputs: Inputs) -> dict[str, Any]:
    """Activations and couplings of a network with capsules."""
    seen = inputs.observed
    assert seen.primary is not None
    shares = []
    for name, values in (("primary capsules", seen.primary), ("routed capsules", seen.routed)):
        if values is not None:
            dead, saturated = (values.max(axis=0) < DEAD).mean(), (values.min(axis=0) > SATURATED).mean()
            row = [float(values.mean()), float(dead), float(saturated)]
            cells = [tables.number(row[0]), *(tables.number(each, form=".1%") for each in row[1:])]
            shares.append([Cell(name), tables.number(values.shape[1], form="d"), *cells])
    labels = inputs.split.labels[seen.rows]
    matrix = None
    if inputs.results.predicted is not None and seen.routed is not None and len(inputs.classes) <= MOST_IN_MATRIX:
        present = [number for number in range(len(inputs.classes)) if np.any(labels == number)]
        if present:
            means = np.stack([seen.routed[labels == number].mean(axis=0) for number in present])
            names = [inputs.classes[number] for number in present]
            matrix = tables.heat(names, inputs.classes, means, np.clip(means, 0, 1), ".2f")
    return {
        "shares": Table(["capsules", "number", "mean activation", "dead", "saturated"], shares),
        "dead": DEAD,
        "saturated": SATURATED,
        "matrix": matrix,
        "charts": list(map(draw, capsule_charts(seen))),
    }
