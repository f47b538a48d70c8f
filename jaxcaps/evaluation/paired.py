"""Uncertainty of the difference between two arms of a study, given few seeds and few test images.

The bootstrap resamples both sources of variation: the seeds, and the groups of test images. It compares two arms pair
by pair in the same resamples, because runs with one seed share their images, split and labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcaps.evaluation.bootstrap import resampled_scores, resampled_units
from jaxcaps.evaluation.classification import labelled_examples
from jaxcaps.evaluation.metrics import ordered_metrics, weighted_scores
from jaxcaps.evaluation.metrics.base import ratio

RESAMPLES = 2000


class Resampled(NamedTuple):
    """The metrics of one arm.

    Attributes:
        point: {metric: float [seeds]} on the original images.
        drawn: {metric: float [seeds, resamples]} on resampled groups of images. Arms and seeds that are scored on the
            same images share their resamples.
    """

    point: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]


class Estimate(NamedTuple):
    """A value, its interval, and its p-value.

    Attributes:
        value: the mean over seeds.
        low, high: the ends of the 95% interval.
        p_value: two-sided, for the null hypothesis that the value is 0.
    """

    value: float
    low: float
    high: float
    p_value: float


def resample(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    groups: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Scores every seed of an arm on the images, and on resamples of their groups.

    Args:
        labels: int [n]; -1 (unknown) is left out.
        probabilities: [seeds, n, classes].
        class_names: the classes in order.
        groups: int [n]; whole groups are drawn, with replacement.
        resamples: number of resamples.
        seed: seed of the draws.

    Raises:
        ValueError, UserError: as `classification_metrics`.
    """
    point, drawn = [], []
    for each in probabilities:
        known_labels, known, mask = labelled_examples(labels, each, len(class_names))
        units = resampled_units(groups, mask)
        point.append(weighted_scores(known_labels, known, np.ones((len(known_labels), 1))))
        drawn.append(resampled_scores(known_labels, known, units, resamples, seed))
    return Resampled(
        {name: np.concatenate([of_seed[name] for of_seed in point]) for name in ordered_metrics()},
        {name: np.stack([of_seed[name] for of_seed in drawn]) for name in ordered_metrics()},
    )


def difference(first: Resampled, second: Resampled, metric: str, *, relative: bool = False, seed: int = 0) -> Estimate:
    """`first` minus `second`, paired by seed and by resample of the images.

    A resample also draws seeds with replacement, so the interval accounts for the choice of seeds and images. With a
    single seed, the interval ignores the variation between seeds and is too narrow.

    Args:
        first, second: scores of the same images, resamples and seeds, in the same order of seeds.
        metric: name of a metric.
        relative: return the ratio of the means minus 1 instead of the difference.
        seed: seed of the draws of seeds.
    """

    def compared(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        return ratio(ones, others) - 1 if relative else ones - others

    values = compared(_drawn(first, metric, seed), _drawn(second, metric, seed))
    return _estimate(float(compared(first.point[metric].mean(), second.point[metric].mean())), values)


def level(of: Resampled, metric: str, *, seed: int = 0) -> Estimate:
    """A metric's mean over seeds, with an interval as in `difference`. The p-value is NaN.

    Args:
        of: scores of an arm.
        metric: name of a metric.
        seed: seed of the draws of seeds.
    """
    return _estimate(float(of.point[metric].mean()), _drawn(of, metric, seed))._replace(p_value=float("nan"))


def _drawn(of: Resampled, metric: str, seed: int) -> np.ndarray:
    """The mean over resampled seeds for each resample of the images: float [resamples]."""
    seeds, resamples = of.drawn[metric].shape
    # A separate stream: with the same seed, the draws of groups would start with the same numbers.
    draws = np.random.default_rng([seed, 1]).integers(seeds, size=(seeds, resamples))
    drawn: np.ndarray = of.drawn[metric][draws, np.arange(resamples)].mean(axis=0)
    return drawn


def _estimate(value: float, values: np.ndarray) -> Estimate:
    """The estimate of a value from its resamples that are not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(values, [2.5, 97.5])
    # Count the observed value as one resample, so that no p-value is 0 (Davison and Hinkley 1997, section 4.2).
    tails = [(1 + np.sum(values <= 0)) / (1 + len(values)), (1 + np.sum(values >= 0)) / (1 + len(values))]
    return Estimate(value, float(low), float(high), float(min(1.0, 2 * min(tails))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for multiple comparisons (Holm 1979).

    If there is no effect, the probability that any corrected p-value is below 0.05 is at most 0.05. NaN stays NaN and
    is not counted.
    """
    values = np.asarray(p_values, np.float64)
    corrected = np.full(len(values), np.nan)
    order = [int(index) for index in np.argsort(values) if not np.isnan(values[index])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[index]))
        corrected[index] = largest
    return corrected.tolist()
