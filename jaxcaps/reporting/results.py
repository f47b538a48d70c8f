"""The files of a finished run, as the page reads them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config
from jaxcaps.restoring.run_folder import is_finished, read_config, read_json
from jaxcaps.training.writers import Row, read_rows


@dataclass(frozen=True)
class Predicted:
    """The rows of a `predictions.csv`.

    Attributes:
        names: the pictures.
        groups: int [n]; each picture its own if the data has no groups.
        labels: int [n], indices into `classes`, -1 if unknown.
        probabilities: float [n, classes].
        classes: the class names.
    """

    names: tuple[str, ...]
    groups: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]

    @property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)


@dataclass(frozen=True)
class Results:
    """What a finished run wrote.

    Attributes:
        folder: its folder; a bundle is unpacked to a temporary one.
        origin: the folder or the bundle, as the user named it.
        config: its configuration.
        rows: its `metrics.jsonl`.
        metrics: its `metrics.json`, with NaN for null.
        predicted: predictions on validation; None for a pre-training run.
        diagnosis: its `diagnosis.json`; empty for a classifier.
        calibration: its `calibration.json`; empty without one.
        scored: the `metrics-*.json` of `jaxcaps.evaluate`, by what follows `metrics-`.
    """

    folder: Path
    origin: str
    config: Config
    rows: list[Row]
    metrics: dict[str, Any]
    predicted: Predicted | None
    diagnosis: dict[str, Any]
    calibration: dict[str, Any]
    scored: Mapping[str, dict[str, Any]]

    @property
    def name(self) -> str:
        return self.folder.absolute().name


def read_results(folder: Path, origin: str | None = None) -> Results:
    """Reads the files of a run.

    Args:
        folder: its folder.
        origin: what the user named. Default: the folder.

    Raises:
        UserError: the folder has no finished run, or one of its files is damaged.
    """
    config = read_config(folder)
    if not is_finished(folder):
        raise UserError(f"{folder} has not finished, so it has no results; repeat its command to finish it")
    others = sorted(folder.glob("metrics-*.json"))
    return Results(
        folder,
        origin or str(folder),
        config,
        read_rows(folder / "metrics.jsonl"),
        read_json(folder / "metrics.json"),
        read_predictions(folder / "predictions.csv") if config.stage == "finetune" else None,
        read_json(folder / "diagnosis.json") if config.stage == "ssl" else {},
        read_json(folder / "calibration.json") if (folder / "calibration.json").is_file() else {},
        {path.stem.removeprefix("metrics-"): read_json(path) for path in others},
    )


def read_predictions(path: Path) -> Predicted:
    """Reads a `predictions.csv`.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = list(csv.reader(file))
        classes = tuple(name.removeprefix("probability_") for name in head[4:])
        numbers = {name: number for number, name in enumerate(classes)} | {"": -1}
        return Predicted(
            tuple(row[0] for row in rows),
            np.array([int(row[1]) for row in rows]),
            np.array([numbers[row[2]] for row in rows]),
            np.array([[float(value) for value in row[4:]] for row in rows]).reshape(len(rows), len(classes)),
            classes,
        )
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; was it moved or deleted?") from None
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path} is damaged ({error!r}); remove the run folder and repeat the run") from None
