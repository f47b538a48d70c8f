"""The sections about what was run and how it went."""

import platform
from typing import Any

import jax
import numpy as np

import jaxcaps
from jaxcaps.data.sources import short_name
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.plan.config import start_of, without_folders
from jaxcaps.reporting import tables
from jaxcaps.reporting.charts import draw
from jaxcaps.reporting.figures import training_charts
from jaxcaps.reporting.inputs import Inputs
from jaxcaps.reporting.pictures import data_uri
from jaxcaps.reporting.results import Results
from jaxcaps.reporting.tables import Cell, Table
from jaxcaps.training.writers import LINEAR_PROBE

# The metrics above all sections.
HEADLINE = ("balanced_accuracy", "accuracy", "macro_roc_auc", "ece")


def headline(results: Results) -> list[tuple[str, str, str]]:
    """The title, the value and the context of the few most important numbers."""
    if results.predicted is None:
        found = results.diagnosis.get("warnings", [])
        probe = results.metrics.get(f"validation/{LINEAR_PROBE}")
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


def what_was_run(inputs: Inputs) -> dict[str, Any]:
    """Facts of the run, counts of its pictures, and its calibration."""
    return {"facts": _facts(inputs), "counts": _counts(inputs), "calibration": _calibration(inputs)}


def _calibration(inputs: Inputs) -> dict[str, Any] | None:
    """The temperature, and the errors before and after; None for a run without."""
    found = inputs.results.calibration
    if not found:
        return None
    rows = [
        [Cell(METRICS[name].title), *(tables.number(found[when][name]) for when in ("before", "after"))]
        for name in ("ece", "log_loss")
    ]
    return {
        "temperature": f"{found['temperature']:.3f}",
        "pictures": found["fitted_on"],
        "table": Table(["metric", "before", "after"], rows),
    }


def _facts(inputs: Inputs) -> list[tuple[str, str]]:
    config = without_folders(inputs.results.config)
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
        ("started from", start_of(config)),
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


def diagnosis(found: dict[str, Any]) -> dict[str, Any]:
    """The warnings and the values of a `diagnosis.json`."""
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
        name: found[name]
        for name in ("coupling_entropy", "saturation", "masked_pixels", "reconstruction")
        if name in found
    }
    return {
        "warnings": found.get("warnings", []),
        "pictures": found.get("pictures", 0),
        "gradients": Table(["layer", "gradient over weight"], gradients),
        "parts": Table(["part", "activity", "dead", "saturated", "effective rank"], parts),
        "others": tables.flat(others),
    }


def training(results: Results) -> dict[str, Any]:
    """The curves. The figure of the run folder stands in for all of them."""
    main, rest = ([draw(chart, still=False) for chart in charts] for charts in training_charts(results.rows))
    figure = results.folder / "figures" / "curves.png"
    return {"charts": main, "more": rest, "still": data_uri(figure.read_bytes(), "png") if figure.is_file() else ""}
