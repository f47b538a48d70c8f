"""How certain a difference between two ways of training is, given few seeds and few test images.

The bootstrap resamples both sources of chance: the seeds, and the groups of test images. It compares two arms in the
same resamples, pair by pair, because runs with one seed share their images, their split and their labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcaps.evaluation.bootstrap import resampled_scores
from jaxcaps.evaluation.classification import labelled_examples
from jaxcaps.evaluation.metrics import ordered_metrics, weighted_scores
from jaxcaps.evaluation.metrics.base import ratio

RESAMPLES = 2000


class Resampled(NamedTuple):
    """The metrics of one arm.

    Attributes:
        point: {metric: float [seeds]} on the images as they are.
        drawn: {metric: float [seeds, resamples]} on resampled groups of images. Arms and seeds that are scored on the
            same images have the same resamples.
    """

    point: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]


class Estimate(NamedTuple):
    """A value, its interval, and how probable it is by chance if there is no effect.

    Attributes:
        value: the mean over seeds.
        low, high: the ends of the 95% interval.
        p_value: two-sided, of the null hypothesis that the value is 0.
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
        resamples: how many to draw.
        seed: of the draws.

    Raises:
        ValueError, UserError: as `classification_metrics`.
    """
    point, drawn = [], []
    for each in probabilities:
        known_labels, known, mask = labelled_examples(labels, each, len(class_names))
        units = np.unique(np.asarray(groups)[mask], return_inverse=True)[1]
        point.append(weighted_scores(known_labels, known, np.ones((len(known_labels), 1))))
        drawn.append(resampled_scores(known_labels, known, units, resamples, seed))
    return Resampled(
        {name: np.concatenate([of_seed[name] for of_seed in point]) for name in ordered_metrics()},
        {name: np.stack([of_seed[name] for of_seed in drawn]) for name in ordered_metrics()},
    )


def difference(first: Resampled, second: Resampled, metric: str, *, relative: bool = False, seed: int = 0) -> Estimate:
    """`first` minus `second`, paired by seed and by resample of the images.

    A resample also draws seeds with replacement, so the interval covers other seeds and other images of the same
    kind. With a single seed the interval leaves out the chance of the seed and is too narrow.

    Args:
        first, second: of the same images, resamples and number of seeds, in the same order of seeds.
        metric: the name of a metric.
        relative: the mean of `first` over the mean of `second`, minus 1, instead of the difference.
        seed: of the draws of seeds.
    """

    def compared(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        return ratio(ones, others) - 1 if relative else ones - others

    values = compared(_drawn(first, metric, seed), _drawn(second, metric, seed))
    return _estimate(float(compared(first.point[metric].mean(), second.point[metric].mean())), values)


def level(of: Resampled, metric: str, *, seed: int = 0) -> Estimate:
    """A metric's mean over seeds, its interval as that of `difference`. There is no p-value: it is NaN.

    Args:
        of: an arm.
        metric: the name of a metric.
        seed: of the draws of seeds.
    """
    return _estimate(float(of.point[metric].mean()), _drawn(of, metric, seed))._replace(p_value=float("nan"))


def _drawn(of: Resampled, metric: str, seed: int) -> np.ndarray:
    """The mean over resampled seeds in each resample of the images: float [resamples]."""
    seeds, resamples = of.drawn[metric].shape
    # A stream of its own: with the same seed, the groups' draws would begin with the same numbers.
    draws = np.random.default_rng([seed, 1]).integers(seeds, size=(seeds, resamples))
    drawn: np.ndarray = of.drawn[metric][draws, np.arange(resamples)].mean(axis=0)
    return drawn


def _estimate(value: float, values: np.ndarray) -> Estimate:
    """The estimate of a value from its resamples, without those that are NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(values, [2.5, 97.5])
    # The observed value counts as one resample, so that no p-value is 0 (Davison and Hinkley 1997, section 4.2).
    tails = [(1 + np.sum(values <= 0)) / (1 + len(values)), (1 + np.sum(values >= 0)) / (1 + len(values))]
    return Estimate(value, float(low), float(high), float(min(1.0, 2 * min(tails))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for their number (Holm 1979).

    If no effect is real, the probability that any corrected p-value is below 0.05 is at most 0.05. NaN stays NaN and
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
