"""What a finished run leaves in its folder beside its checkpoints. `metrics.json` comes last: it means finished."""

import json
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps.config import Config
from jaxcaps.data.dataset import Dataset, Split
from jaxcaps.encoder_file import write_encoder
from jaxcaps.evaluation.bootstrap import bootstrap_intervals
from jaxcaps.evaluation.metrics import classification_metrics, majority_baseline
from jaxcaps.evaluation.plots import plot_confusion, plot_curves, plot_reconstructions
from jaxcaps.evaluation.table import metrics_table, write_metrics, write_predictions
from jaxcaps.tasks import Task
from jaxcaps.training.state import Parameters, with_parameters
from jaxcaps.training.writers import read_rows, replace_text

log = logging.getLogger("jaxcaps")

SHOWN_PICTURES = 8


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
    """Writes predictions, confusion figure and metrics (with intervals and the majority baseline) of one split.

    Returns:
        The table to print.
    """
    metrics = classification_metrics(split.labels, probabilities, classes)
    groups = split.groups if split.has_groups else None
    intervals = bootstrap_intervals(split.labels, probabilities, classes, groups=groups)
    baseline = majority_baseline(train_labels, split.labels, classes)
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
    """The validation split's numbers, with the parameters of the best evaluation."""
    _curves(folder)
    table = score_classifier(folder, train_labels, validation, probabilities, classes, extra={"selected": best})
    chosen = "the last parameters" if best["value"] is None else f"parameters of micro-step {best['step']}"
    log.info("\nValidation split, %s (best %s):\n%s", chosen, best["metric"], table)


def finish_pretraining(
    folder: Path, config: Config, task: Task, modules: Any, parameters: Parameters, dataset: Dataset
) -> None:
    """The encoder for others to read, reconstructions to look at, and the last row as the run's metrics."""
    parameters = jax.device_get(parameters)
    encoder = {path: np.asarray(value) for path, value in parameters.items() if path.startswith("encoder/")}
    learnt_from = frozenset(dataset.splits["train"].names)
    write_encoder(folder / "encoder.safetensors", encoder, config, learnt_from)
    _curves(folder)
    network = with_parameters(modules, parameters)
    _reconstructions(folder, task, network, dataset.splits["validation"])
    rows = read_rows(folder / "metrics.jsonl")
    last = {name: value for name, value in rows[-1].items() if "gradient_norm/" not in name}
    width = max(map(len, last))
    table = "\n".join(f"{name:<{width}}  {value:.4f}" for name, value in last.items())
    log.info("\nLast row of metrics:\n%s", table)
    replace_text(folder / "table.txt", table + "\n")
    replace_text(folder / "metrics.json", json.dumps(last, indent=2) + "\n")


def _curves(folder: Path) -> None:
    (folder / "figures").mkdir(exist_ok=True)
    plot_curves(read_rows(folder / "metrics.jsonl"), folder / "figures" / "curves.png")


def _reconstructions(folder: Path, task: Task, network: Any, split: Split) -> None:
    # Neighbours in a split are often pictures of one lesion: take them from all over it.
    shown = np.unique(np.linspace(0, len(split) - 1, SHOWN_PICTURES).round().astype(int))
    columns = task.pictures(network, jnp.asarray(np.stack([split.read(int(index)) for index in shown])))
    if columns:
        pixels = [np.asarray(each * 255).round().astype(np.uint8) for each in columns.values()]
        rows = [list(row) for row in zip(*pixels, strict=True)]
        plot_reconstructions(rows, list(columns), folder / "figures" / "reconstructions.png")
