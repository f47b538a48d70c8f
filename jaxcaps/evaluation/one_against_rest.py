"""Scores, curves and operating points of one class against the rest."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcaps.evaluation.bootstrap import percentiles, resample_weights, resampled_units
from jaxcaps.evaluation.classification import class_scores, labelled_examples
from jaxcaps.evaluation.metrics.base import WeightedPredictions, ratio
from jaxcaps.evaluation.metrics.ece import BINS, confidence_bins

# The sensitivity is given at this specificity, and the specificity at this sensitivity.
OPERATING_POINT = 0.9
# The number of resamples, which shrinks to the second number if examples times classes exceed WORK.
RESAMPLES, LEAST_RESAMPLES = 1000, 100
WORK = 3 * 10**8


class Curves(NamedTuple):
    """The rates of the rule "this class if its probability is at least t", for every t, from strict to lenient.

    Attributes:
        thresholds: float [points], falling; the first is infinite, so that no example is assigned to the class.
        sensitivity, false_positive_rate: float [points, weightings].
        precision: float [points, weightings]; NaN where no example is assigned to the class.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    false_positive_rate: np.ndarray
    precision: np.ndarray


class ClassScores(NamedTuple):
    """The scores of each class against the rest.

    Attributes:
        values: {score: float [classes]}, NaN if undefined.
        intervals: {score: float [classes, 2]}, 95% bootstrap intervals.
        thresholds: {operating point: float [classes]}, the lowest probability of the class that is assigned to it.
        resamples: the number of resamples behind the intervals.
    """

    values: dict[str, np.ndarray]
    intervals: dict[str, np.ndarray]
    thresholds: dict[str, np.ndarray]
    resamples: int


def curves(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Curves:
    """Sweeps the threshold over the scores of one class.

    Args:
        positive: bool [n], whether the example is of the class.
        scores: float [n], its probability of the class.
        weights: float [n, weightings].
    """
    order = np.argsort(-scores, kind="stable")
    # Equal scores fall on the same side of every threshold.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    none = np.zeros((1, weights.shape[1]))
    hits, alarms = (
        np.concatenate([none, np.cumsum(weights[order] * members[order, None], axis=0)[last]])
        for members in (positive, ~positive)
    )
    return Curves(
        np.append(np.inf, scores[order][last]),
        ratio(hits, hits[-1]),
        ratio(alarms, alarms[-1]),
        ratio(hits, hits + alarms),
    )


def threshold_scores(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the scores {name: float [weightings]} and the thresholds {operating point: float [weightings]}.

    The scores are the area under the ROC curve, the average precision, the sensitivity at a specificity of at least
    0.9, and the specificity at a sensitivity of at least 0.9.
    """
    found = curves(positive, scores, weights)
    with np.errstate(invalid="ignore"):
        area = np.trapezoid(found.sensitivity, found.false_positive_rate, axis=0)
    steps = np.diff(found.sensitivity, axis=0)
    precision = np.where(steps > 0, found.precision[1:], 0)
    specificity = 1 - found.false_positive_rate
    # 0.9 of 10 examples is 9, whatever the rounding.
    least = OPERATING_POINT - 1e-9
    defined = ~np.isnan(area)
    at_specificity = np.where(specificity >= least, found.sensitivity, -1)
    at_sensitivity = np.where(found.sensitivity >= least, specificity, -1)
    points = {"sensitivity_at_specificity": at_specificity, "specificity_at_sensitivity": at_sensitivity}
    return (
        {
            "roc_auc": area,
            "average_precision": np.where(np.isnan(found.sensitivity[-1]), np.nan, np.sum(steps * precision, axis=0)),
            **{name: np.where(defined, values.max(axis=0), np.nan) for name, values in points.items()},
        },
        {
            name: np.where(defined, found.thresholds[values.argmax(axis=0)], np.nan)
            for name, values in points.items()
        },
    )  # fmt: skip


def score_classes(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> ClassScores:
    """Scores each class against the rest, with bootstrap intervals over examples or groups.

    Args:
        labels: int [n]; -1 (unknown) is left out.
        probabilities: [n, classes].
        class_names: the classes in order.
        groups: int [n]; whole groups are drawn. None draws single examples.
        seed: seed of the draws.

    Raises:
        ValueError, UserError: as `classification_metrics`.
    """
    labels, probabilities, known = labelled_examples(labels, probabilities, len(class_names))
    units = resampled_units(groups, known)
    values, thresholds = _scores(labels, probabilities, np.ones((len(labels), 1)))
    resamples = int(np.clip(WORK // probabilities.size, LEAST_RESAMPLES, RESAMPLES))
    drawn = [_scores(labels, probabilities, weights)[0] for weights in resample_weights(units, resamples, seed)]
    intervals = {}
    for name, value in values.items():
        columns = np.concatenate([each[name] for each in drawn]).T
        ends = [percentiles(column, 0.95) if units.max() else (np.nan, np.nan) for column in columns]
        intervals[name] = np.where(np.isnan(value[0])[:, None], np.nan, ends)
    return ClassScores(
        {name: value[0] for name, value in values.items()},
        intervals,
        {name: value[0] for name, value in thresholds.items()},
        resamples,
    )


def _scores(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The scores and the thresholds, {name: float [weightings, classes]}."""
    scores = class_scores(WeightedPredictions(labels, probabilities, weights))
    classes = range(probabilities.shape[1])
    each = [threshold_scores(labels == number, probabilities[:, number], weights) for number in classes]
    found, thresholds = (
        {name: np.stack([one[name] for one in part], axis=1) for name in part[0]} for part in zip(*each, strict=True)
    )
    return scores | found, thresholds


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reliability diagram (Guo et al. 2017): mean confidence, accuracy and number of examples of each occupied bin.

    The bins are those of the calibration error. The confidence is the probability of the predicted class.

    Args:
        labels: int [n], each a class.
        probabilities: [n, classes].
    """
    confidences = probabilities.max(axis=1)
    bins = confidence_bins(confidences)
    counts = np.bincount(bins, minlength=BINS)
    correct = np.bincount(bins, probabilities.argmax(axis=1) == labels, BINS)
    used = counts > 0
    return np.bincount(bins, confidences, BINS)[used] / counts[used], correct[used] / counts[used], counts[used]
