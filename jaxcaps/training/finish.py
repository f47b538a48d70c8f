"""Writes the results of a finished run. `metrics.json` comes last: it marks the run as finished."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps.data.dataset import Dataset, Split
from jaxcaps.data.sampling import evenly_spaced
from jaxcaps.evaluation.bootstrap import bootstrap_intervals
from jaxcaps.evaluation.classification import classification_metrics, majority_baseline
from jaxcaps.evaluation.plots import plot_confusion, plot_curves, plot_reconstructions
from jaxcaps.evaluation.table import metrics_table, write_metrics, write_predictions
from jaxcaps.plan.config import Config
from jaxcaps.restoring.tensor_file import write_tensors
from jaxcaps.tasks import Task
from jaxcaps.training.diagnosis import diagnose, write_diagnosis
from jaxcaps.training.folder import contents_of
from jaxcaps.training.state import Parameters, with_parameters
from jaxcaps.training.writers import read_rows, replace_text

log = logging.getLogger("jaxcaps")

# The number of pictures made for the diagnosis, and how many of them the figure shows.
MADE_PICTURES, SHOWN_PICTURES = 32, 8


def score_classifier(
    folder: Path,
    train_labels: np.ndarray,
    split: Split,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    *,
    suffix: str = "",
    extra: dict[str, Any] | None = None,
) -> str:
    """Writes the predictions, the confusion matrix and the metrics, with intervals and majority baseline, of one split.

    Returns:
        The table to print.
    """
    metrics = classification_metrics(split.labels, probabilities, classes)
    groups = split.groups if split.has_groups else None
    intervals = bootstrap_intervals(split.labels, probabilities, classes, groups=groups)
    baseline = majority_baseline(train_labels, split.labels, classes)
    majority = int(np.argmax(np.bincount(train_labels[train_labels >= 0])))
    if not np.any(split.labels == majority):
        metrics["notes"].append(f"The majority baseline predicts {classes[majority]}, so it is never right here.")
    table = metrics_table(metrics, intervals, baseline)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    plot_confusion(np.asarray(metrics["confusion_matrix"]), classes, figures / f"confusion{suffix}.png")
    write_predictions(
        folder / f"predictions{suffix}.csv", split.names, split.groups, split.labels, probabilities, classes
    )
    replace_text(folder / f"table{suffix}.txt", table + "\n")
    write_metrics(folder / f"metrics{suffix}.json", {**metrics, **(extra or {})}, intervals, baseline)
    return table


def finish_classifier(
    folder: Path,
    train_labels: np.ndarray,
    validation: Split,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    best: dict[str, Any],
) -> None:
    """Writes the results on the validation split, with the parameters of the best evaluation."""
    draw_curves(folder)
    table = score_classifier(folder, train_labels, validation, probabilities, classes, extra={"selected": best})
    chosen = "the last parameters" if best["value"] is None else f"parameters from micro-step {best['step']}"
    log.info("\nValidation split, %s (best %s):\n%s", chosen, best["metric"], table)


def finish_pretraining(
    folder: Path, config: Config, task: Task, modules: Any, parameters: Parameters, dataset: Dataset, step: int
) -> dict[str, np.ndarray]:
    """Writes the encoder file, reconstructions, the diagnosis, and the metrics of `step`, from which the parameters
    were taken.

    Returns:
        The pictures of the figure, {title: float [pictures, height, width, channels]}; empty without a decoder.
    """
    parameters = jax.device_get(parameters)
    encoder = {path: np.asarray(value) for path, value in parameters.items() if path.startswith("encoder/")}
    learnt_from = contents_of(dataset.splits["train"])
    write_tensors(folder / "encoder.safetensors", encoder, config, learnt_from, dataset.prepared)
    draw_curves(folder)
    network = with_parameters(modules, parameters)
    validation = dataset.splits["validation"]
    chosen = evenly_spaced(len(validation), MADE_PICTURES)
    made = task.pictures(network, jnp.asarray(np.stack([validation.read(int(index)) for index in chosen])))
    shown = {title: np.asarray(each)[evenly_spaced(len(chosen), SHOWN_PICTURES)] for title, each in made.items()}
    if shown:
        _reconstructions(folder, shown)
    # One device measures, so use no larger batches than each device had in training.
    at_a_time = config.training.batch_size // jax.device_count()
    write_diagnosis(folder, diagnose(task, modules, parameters, validation, at_a_time, made))
    row = next(row for row in read_rows(folder / "metrics.jsonl") if row["step"] == step)
    kept = {name: value for name, value in row.items() if "gradient_norm/" not in name}
    width = max(map(len, kept))
    table = "\n".join(f"{name:<{width}}  {value:.4f}" for name, value in kept.items())
    log.info("\nMetrics at micro-step %d, whose parameters are kept:\n%s", step, table)
    replace_text(folder / "table.txt", table + "\n")
    write_metrics(folder / "metrics.json", kept)
    return shown


def draw_curves(folder: Path) -> None:
    """Draws the metrics written so far to `figures/curves.png`."""
    (folder / "figures").mkdir(exist_ok=True)
    plot_curves(read_rows(folder / "metrics.jsonl"), folder / "figures" / "curves.png")


def _reconstructions(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    pixels = [(each * 255).round().astype(np.uint8) for each in columns.values()]
    rows = [list(row) for row in zip(*pixels, strict=True)]
    plot_reconstructions(rows, list(columns), folder / "figures" / "reconstructions.png")
