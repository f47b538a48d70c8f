"""Fills the template `page.html` with the results of a run."""

import dataclasses
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

import jaxcaps
from jaxcaps.data.dataset import Split
from jaxcaps.data.sources import anonymous, short_name
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.evaluation.one_against_rest import ClassScores, score_classes
from jaxcaps.plan.config import Config, with_paths, yaml_text
from jaxcaps.reporting import tables
from jaxcaps.reporting.charts import draw
from jaxcaps.reporting.comparison import Comparison, other_probabilities
from jaxcaps.reporting.figures import capsule_charts, embedding_chart, threshold_charts, training_charts
from jaxcaps.reporting.observation import Observation
from jaxcaps.reporting.pictures import data_uri, picture_uri, sprite
from jaxcaps.reporting.results import Predicted, Results
from jaxcaps.reporting.tables import Cell, Table
from jaxcaps.training.diagnosis import DEAD, SATURATED

# Side of thumbnails, of pictures of mistakes and of reconstructions, in pixels.
THUMBNAIL, SHOWN, MADE = 48, 144, 96
HEADLINE = ("balanced_accuracy", "accuracy", "macro_roc_auc", "ece")
MISTAKES = 12
DISAGREEMENTS = 12
# A larger matrix is not readable as a table.
MOST_IN_MATRIX = 30


@dataclass(frozen=True)
class Shown:
    """A picture with what a run said of it."""

    uri: str
    name: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Inputs:
    """All that a page is made from.

    Attributes:
        results: the files of the run.
        observed: the network on validation pictures.
        split: the validation split.
        classes: the class names; empty without labels.
        train_counts: labelled training pictures of each class.
        parameters: the number of parameters.
        comparisons: other runs on the same pictures.
    """

    results: Results
    observed: Observation
    split: Split
    classes: tuple[str, ...]
    train_counts: Sequence[int]
    parameters: int
    comparisons: Sequence[Comparison] = ()


def render(inputs: Inputs) -> str:
    """The page as HTML. It holds everything it shows and loads nothing.

    Raises:
        UserError: a picture can no longer be read.
    """
    results = inputs.results
    sections: dict[str, dict[str, Any]] = {}
    if inputs.comparisons:
        sections["comparison"] = {"runs": [_comparison(inputs, one) for one in inputs.comparisons]}
    sections["run"] = {"facts": _facts(inputs), "counts": _counts(inputs), "calibration": _calibration(results)}
    if results.predicted is not None:
        scores = _scores(results.predicted, inputs.split)
        sections |= _classifier_sections(inputs, results.predicted, scores)
    else:
        sections["scores"] = {"pretraining": tables.flat(results.metrics)}
        sections["diagnosis"] = _diagnosis(results.diagnosis)
    if inputs.observed.made:
        sections["reconstructions"] = {"strips": _strips(inputs.observed)}
    thumbnails = sprite(list(inputs.observed.pictures), THUMBNAIL)
    sections["embedding"] = _embedding(inputs, thumbnails)
    if inputs.observed.primary is not None:
        sections["capsules"] = _capsules(inputs)
    sections["training"] = _training(results)
    sections["configuration"] = {"yaml": yaml_text(_without_folders(results))}
    kind = "classifier" if results.config.stage == "finetune" else f"pre-training ({results.config.task})"
    page = (
        _environment()
        .get_template("page.html")
        .render(
            title=f"{results.name}: {kind}",
            sections=sections,
            titles=TITLES,
            headline=_headline(results),
            bokeh=_bokeh(),
            sprite=thumbnails.uri,
            side=thumbnails.side,
            version=jaxcaps.__version__,
        )
    )
    # Names of files may hold bytes that are not UTF-8.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


TITLES = {
    "comparison": "Comparison",
    "run": "What was run",
    "scores": "Scores",
    "elsewhere": "Other splits and data",
    "confusion": "Confusion matrix",
    "thresholds": "Thresholds and calibration",
    "mistakes": "The most confident mistakes",
    "diagnosis": "Diagnosis",
    "reconstructions": "Reconstructions",
    "embedding": "Map of the validation pictures",
    "capsules": "Capsules and couplings",
    "training": "Training curves",
    "configuration": "Configuration",
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("jaxcaps.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Bokeh's objects are defined at their first occurrence, so keys keep their order.
    environment.policies["json.dumps_kwargs"] = {}
    return environment


@cache
def _bokeh() -> str:
    from bokeh.resources import Resources

    # The core alone: no widgets, tables or mathematics.
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def _without_folders(results: Results) -> Config:
    """The configuration as others may see it: paths without the folders above them."""
    config = with_paths(results.config, lambda path: Path(path).name)
    data = dataclasses.replace(config.data, data=anonymous(config.data.data))
    out, restore = (value and Path(value).name for value in (config.out, config.restore))
    return dataclasses.replace(config, data=data, out=out, restore=restore)


def _headline(results: Results) -> list[tuple[str, str, str]]:
    """The title, the value and the context of the few most important numbers."""
    if results.predicted is None:
        found = results.diagnosis.get("warnings", [])
        probe = results.metrics.get("validation/linear_probe/balanced_accuracy")
        shown = [] if probe is None else [("Linear probe, balanced accuracy", f"{probe:.3f}", "on validation")]
        return [*shown, ("Warnings of the diagnosis", str(len(found)), "see below" if found else "none")]
    baseline = results.metrics.get("majority_baseline", {})
    intervals = results.metrics.get("intervals", {})
    shown = []
    for name in HEADLINE:
        cell = tables.number(results.metrics[name], intervals.get(name, ()))
        beside = tables.number(baseline.get(name, np.nan)).text
        shown.append((METRICS[name].title, cell.text, f"{cell.detail} · baseline {beside}".removeprefix(" · ")))
    return shown


def _facts(inputs: Inputs) -> list[tuple[str, str]]:
    config = _without_folders(inputs.results)
    stage = "fine-tuning" if config.stage == "finetune" else "self-supervised pre-training"
    facts = [("stage", stage)]
    if config.stage == "ssl":
        facts.append(("task", config.task))
    selected = inputs.results.metrics.get("selected")
    if isinstance(selected, dict) and isinstance(selected.get("step"), int):
        facts.append(("parameters from", f"micro-step {selected['step']}, the best {selected.get('metric')}"))
    epochs = inputs.results.rows[-1]["epoch"] if inputs.results.rows else 0.0
    return [
        *facts,
        ("data", f"{short_name(inputs.results.config.data.data)} ({config.data.data})"),
        ("started from", config.restore or "random initialisation"),
        ("preset", f"{config.preset}, pictures of {config.data.image_size}x{config.data.image_size}"),
        ("network", f"{config.model.architecture}, {config.model.routing} routing, {inputs.parameters:,} parameters"),
        ("epochs", f"{epochs:.1f} of {config.training.epochs:g}, {config.training.batch_size} pictures a step"),
        ("seed", str(config.seed)),
        ("page made by", f"jaxcaps {jaxcaps.__version__}, jax {jax.__version__}, Python {platform.python_version()}"),
        ("to repeat", "python -m jaxcaps.train --config=CONFIG.yaml --out=NEW, with the configuration below"),
    ]


def _counts(inputs: Inputs) -> Table:
    """Pictures of each class in training and validation."""
    labels = inputs.split.labels
    rows = [
        [Cell(name), tables.number(int(count), form="d"), tables.number(int(np.sum(labels == index)), form="d")]
        for index, (name, count) in enumerate(zip(inputs.classes, inputs.train_counts, strict=True))
    ]
    unlabelled = int(np.sum(labels < 0))
    if unlabelled:
        rows.append([Cell("unlabelled"), Cell(""), tables.number(unlabelled, form="d")])
    return Table(["class", "training", "validation"], rows)


def _calibration(results: Results) -> list[list[Cell]]:
    return tables.flat(results.calibration)


def _scores(predicted: Predicted, split: Split) -> ClassScores:
    groups = predicted.groups if split.has_groups else None
    return score_classes(predicted.labels, predicted.probabilities, predicted.classes, groups)


def _classifier_sections(inputs: Inputs, predicted: Predicted, scores: ClassScores) -> dict[str, dict[str, Any]]:
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
            picture_uri(read(int(row)), SHOWN),
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


def _comparison(inputs: Inputs, found: Comparison) -> dict[str, Any]:
    mine = inputs.results.predicted
    assert mine is not None
    names = _names(inputs.results, found.other)
    theirs = other_probabilities(inputs.results, found.other)
    shown = []
    for row in found.disagreements[:DISAGREEMENTS].tolist():
        label = mine.labels[row]
        lines = [("true", mine.classes[label] if label >= 0 else "unlabelled")]
        for name, probabilities in zip(names, (mine.probabilities, theirs), strict=True):
            best = int(probabilities[row].argmax())
            verdict = "" if label < 0 else "\u00a0✓" if best == label else "\u00a0✗"
            lines.append((name, f"{mine.classes[best]}\u00a0{probabilities[row, best]:.2f}{verdict}"))
        shown.append(Shown(picture_uri(inputs.split.read(row), SHOWN), mine.names[row], lines))
    return {
        "names": names,
        "table": tables.differences(found, *names),
        "shown": shown,
        "count": len(found.disagreements),
        "pictures": len(mine.names),
        "only_mine": found.only_mine,
        "only_theirs": found.only_theirs,
    }


def _names(mine: Results, other: Results) -> tuple[str, str]:
    """The names of two runs, with the folder above if they are equal."""
    if mine.name != other.name:
        return mine.name, other.name
    first, second = (f"{run.folder.absolute().parent.name}/{run.name}" for run in (mine, other))
    return first, second


def _diagnosis(found: dict[str, Any]) -> dict[str, Any]:
    gradients = [
        [Cell(layer), Cell(f"{value:.1e}" if np.isfinite(value) else tables.UNDEFINED)]
        for layer, value in found.get("gradient_over_weight", {}).items()
    ]
    columns = ["activity", "dead", "saturated", "rank"]
    parts = [
        [
            Cell("primary capsules" if name == "encoder" else name.replace("_", " ")),
            *(tables.number(part.get(column, np.nan), form=".1%" if column != "activity" else ".3f")
              for column in columns),
        ]
        for name, part in found.get("parts", {}).items()
    ]  # fmt: skip
    others: dict[str, Any] = {
        name: found[name] for name in ("coupling_entropy", "saturation", "reconstruction") if name in found
    }
    return {
        "warnings": found.get("warnings", []),
        "pictures": found.get("pictures", 0),
        "gradients": Table(["layer", "gradient over weight"], gradients),
        "parts": Table(["part", "activity", "dead", "saturated", "effective rank"], parts),
        "others": tables.flat(others),
    }


def _training(results: Results) -> dict[str, Any]:
    """The curves. The figure of the run folder stands in for all of them."""
    main, rest = ([draw(chart, still=False) for chart in charts] for charts in training_charts(results.rows))
    figure = results.folder / "figures" / "curves.png"
    return {"charts": main, "more": rest, "still": data_uri(figure.read_bytes(), "png") if figure.is_file() else ""}


def _strips(seen: Observation) -> list[tuple[str, str]]:
    """Each kind of picture as one strip."""
    strips = []
    for title, pictures in seen.made.items():
        pixels = (np.clip(pictures, 0, 1) * 255).round().astype(np.uint8)
        strips.append((title, picture_uri(np.concatenate(list(pixels), axis=1), MADE)))
    return strips


def _embedding(inputs: Inputs, thumbnails: Any) -> dict[str, Any]:
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


def _capsules(inputs: Inputs) -> dict[str, Any]:
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
