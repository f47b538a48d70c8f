"""The files of a cell: its outcome or the reason of its failure, and the predictions of each fine-tuning."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcaps.config import from_dict
from jaxcaps.data.dataset import Split
from jaxcaps.training.writers import replace_text

CELLS, OUTCOME, FAILED, PREDICTIONS = "cells", "outcome.json", "failed.json", "predictions.npz"


@dataclass(frozen=True)
class FineTuning:
    """What one fine-tuning came to.

    Attributes:
        labels, recipe: which it was.
        folder: its run folder, in the cell's.
        architecture: the hash of its architecture; "" for a classifier of pixels.
        fingerprint: of the data.
        updates: updates of the optimiser.
        pretraining_seconds, seconds: of both stages.
        validation: balanced accuracy on the validation pictures whose labels are visible, by which recipes are
            chosen; None for a classifier of pixels.
    """

    labels: str
    recipe: str
    folder: str
    architecture: str
    fingerprint: str
    updates: int
    pretraining_seconds: float
    seconds: float
    validation: float | None


class Failure(NamedTuple):
    """Why a cell did not finish; `applicable` is False if its task does not suit the data."""

    applicable: bool
    reason: str


class Predictions(NamedTuple):
    """What a classifier says of the scored split: names, labels int [n], groups int [n], probabilities float
    [n, classes], and the names of the classes."""

    names: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, split: Split, probabilities: np.ndarray, classes: tuple[str, ...]) -> "Predictions":
        return cls(np.array(split.names), split.labels, split.groups, probabilities, np.array(classes))

    def save(self, folder: Path) -> None:
        np.savez(folder / PREDICTIONS, **self._asdict())

    @classmethod
    def load(cls, folder: Path) -> "Predictions":
        with np.load(folder / PREDICTIONS) as values:
            return cls(**{name: values[name] for name in cls._fields})


def write_outcome(folder: Path, done: Sequence[FineTuning]) -> None:
    replace_text(folder / OUTCOME, json.dumps([dataclasses.asdict(one) for one in done], indent=2) + "\n")


def read_outcome(folder: Path) -> list[FineTuning] | None:
    """What a finished cell came to; None for one that has not finished.

    Raises:
        UserError: another version of jaxcaps wrote it.
    """
    path = folder / OUTCOME
    if not path.is_file():
        return None
    origin = f"{path} is of another version of jaxcaps; remove the cell's folder to run it again"
    return [from_dict(FineTuning, one, origin) for one in json.loads(path.read_text(encoding="utf-8"))]


def write_failure(folder: Path, failure: Failure) -> None:
    replace_text(folder / FAILED, json.dumps(failure._asdict(), indent=2) + "\n")


def read_failure(folder: Path) -> Failure | None:
    """Returns why a cell failed; None if it finished or has not begun."""
    path = folder / FAILED
    if not path.is_file() or (folder / OUTCOME).is_file():
        return None
    return Failure(**json.loads(path.read_text(encoding="utf-8")))


def unsuitable(folder: Path) -> bool:
    """Whether a cell does not apply: its task does not suit the data."""
    failure = read_failure(folder)
    return failure is not None and not failure.applicable


def awaits_run(folder: Path) -> bool:
    """Whether a cell still has to run."""
    return read_outcome(folder) is None and not unsuitable(folder)
