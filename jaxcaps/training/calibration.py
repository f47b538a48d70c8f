"""What a finished classifier knows of its predictions: a temperature, and which pictures are unlike those of training.

A run keeps both beside its results: `calibration.json`, and `familiar.npz` with the Gaussian of the training features.
"""

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.atomic import replacing
from jaxcaps.data.colours import LEAST_COLOURFUL, is_colourful
from jaxcaps.data.dataset import Split
from jaxcaps.data.decoding import BadImage
from jaxcaps.data.sampling import evenly_spaced
from jaxcaps.errors import UserError
from jaxcaps.evaluation.calibration import calibrated, fit_temperature
from jaxcaps.evaluation.metrics import weighted_scores
from jaxcaps.evaluation.out_of_distribution import Gaussian, fit_gaussian, unit
from jaxcaps.restoring import Origin, find_origin
from jaxcaps.restoring.tensor_file import FAMILIAR
from jaxcaps.training.evaluators import Classified
from jaxcaps.training.writers import replace_text

FILE, ARRAYS = "calibration.json", "familiar.npz"
# The maximum number of training pictures that the Gaussian is fitted to, evenly spaced over the split.
MOST_PICTURES = 2000
# The maximum number of training pictures that are read to see whether they have colour.
PICTURES_FOR_COLOUR = 50


@dataclass(frozen=True)
class Calibration:
    """
    Attributes:
        temperature: that logits are divided by.
        fitted_on: number of labelled validation pictures.
        before, after: ECE and log loss of these pictures without and with the temperature.
        distance_unit, error_unit: of the two scores; the score of a picture is the larger of its distance and its
            reconstruction error, in these units. Above 1 it is flagged. No error unit without a decoder.
        colour: whether training pictures had colour. A model of grey pictures that did not refuses colour.
        familiar: the Gaussian of the training features.
    """

    temperature: float
    fitted_on: int
    before: dict[str, float]
    after: dict[str, float]
    distance_unit: float
    error_unit: float | None
    colour: bool
    familiar: Gaussian

    def plain(self) -> dict[str, Any]:
        """All but the Gaussian, as JSON types."""
        return {name: value for name, value in asdict(self).items() if name != "familiar"}

    def probabilities(self, predicted: Classified) -> np.ndarray:
        """Returns calibrated probabilities, float64 [n, classes]."""
        return calibrated(predicted.logits, self.temperature)

    def unfamiliarity(self, predicted: Classified) -> np.ndarray:
        """Returns the out-of-distribution scores, float64 [n]; above 1, a picture is flagged."""
        scores = self.familiar.distance(predicted.features) / self.distance_unit
        if self.error_unit is not None:
            scores = np.maximum(scores, predicted.errors / self.error_unit)
        return scores


def reference_part(train: Split) -> Split:
    """The training pictures that `calibrate` takes features of."""
    return train.part(evenly_spaced(len(train), MOST_PICTURES))


def calibrate(validation: Split, predicted: Classified, train: Split, training_features: np.ndarray) -> Calibration:
    """Fits the temperature and the units of the scores on validation, and the Gaussian on training.

    Args:
        validation: labels that the run may not see are -1 and do not count.
        predicted: what the classifier says of them.
        train: the training pictures; some are read to see whether they have colour.
        training_features: [n, features], of `reference_part`.
    """
    labels, logits = validation.labels, predicted.logits
    temperature = fit_temperature(logits, labels)
    familiar = fit_gaussian(training_features)
    distances = familiar.distance(predicted.features)
    distance_unit, error_unit = unit(distances), None
    if predicted.errors is not None:
        error_unit = unit(predicted.errors)
        # Two scores flag more pictures than one, so their maximum gets the share that one of them had.
        both = unit(np.maximum(distances / distance_unit, predicted.errors / error_unit))
        distance_unit, error_unit = distance_unit * both, error_unit * both
    return Calibration(
        temperature=temperature,
        fitted_on=int(np.sum(labels >= 0)),
        before=_scores(labels, calibrated(logits, 1.0)),
        after=_scores(labels, calibrated(logits, temperature)),
        distance_unit=distance_unit,
        error_unit=error_unit,
        colour=train.channels == 3 or _has_colour(train),
        familiar=familiar,
    )


def write_calibration(folder: Path, calibration: Calibration) -> None:
    with replacing(folder / ARRAYS) as file:
        np.savez(file, mean=calibration.familiar.mean, whitening=calibration.familiar.whitening)
    replace_text(folder / FILE, json.dumps(calibration.plain(), indent=2) + "\n")


def read_calibration(restore: str | Path | Origin) -> Calibration:
    """
    Args:
        restore: a fine-tuned run, as `find_origin` finds it.

    Raises:
        UserError: the run has not finished, or its files are damaged.
    """
    origin = find_origin(restore)
    if origin.stored is not None:
        arrays, more = origin.stored.arrays, origin.stored.more
        try:
            familiar = Gaussian(arrays[f"{FAMILIAR}mean"], arrays[f"{FAMILIAR}whitening"])
            return Calibration(**more["calibration"], familiar=familiar)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"--restore={origin.name}: its header has no calibration of this version: {error!r}"
            ) from None
    folder = origin.folder
    if not (folder / FILE).is_file():
        raise UserError(
            f"{folder} has no {FILE}: the run has not finished. Repeat its command, which goes on from the last "
            "checkpoint"
        )
    try:
        values: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            return Calibration(**values, familiar=Gaussian(**arrays))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{folder}: {FILE} or {ARRAYS} is damaged ({error}); remove {folder}/metrics.json and repeat the command "
            "of the run, which writes them again"
        ) from None


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    known = labels >= 0
    scores = weighted_scores(labels[known], probabilities[known], np.ones((int(known.sum()), 1)))
    return {name: float(scores[name][0]) for name in ("ece", "log_loss")}


def _has_colour(train: Split) -> bool:
    """Whether enough of some training pictures are colourful in their files, which a grey model does not see."""
    colourful = []
    for row in train.rows[evenly_spaced(len(train), PICTURES_FOR_COLOUR)]:
        try:
            colourful.append(is_colourful(train.source.read(int(row))))
        except BadImage:
            continue
    return bool(np.mean(colourful or [True]) >= LEAST_COLOURFUL)
