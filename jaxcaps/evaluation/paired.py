"""How sure a difference between two ways of training is, given few seeds and few test images.

Both sources of chance are drawn anew: the seeds, and the groups of test images. Two arms are compared in the same
draws, pair by pair, since runs of one seed share their images, their split and their labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcaps.evaluation.bootstrap import resample_weights, scores
from jaxcaps.evaluation.metrics import SCALAR_METRICS, ratio, scored_examples

RESAMPLES = 2000


class Resampled(NamedTuple):
    """The scalar metrics of one arm.

    Attributes:
        point: {metric: float [seeds]} on the images as they are.
        drawn: {metric: float [seeds, resamples]} on resampled groups of images; every arm and seed that is scored on
            the same images has the same draws.
    """

    point: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]


class Estimate(NamedTuple):
    """A value, its interval, and how probable it is to be met by chance where there is nothing.

    Attributes:
        value: the mean over seeds.
        low, high: the ends of the 95% interval.
        p_value: two-sided, of the value 0.
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
        resamples: how many draws.
        seed: of the draws.

    Raises:
        ValueError, UserError: as `classification_metrics`.
    """
    point: dict[str, list[float]] = {name: [] for name in SCALAR_METRICS}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in SCALAR_METRICS}
    for each in probabilities:
        known_labels, known, mask = scored_examples(labels, each, len(class_names))
        units = np.unique(np.asarray(groups)[mask], return_inverse=True)[1]
        chunks = [scores(known_labels, known, weights) for weights in resample_weights(units, resamples, seed)]
        whole = scores(known_labels, known, np.ones((len(known_labels), 1)))
        for name in SCALAR_METRICS:
            point[name].append(float(whole[name][0]))
            drawn[name].append(np.concatenate([chunk[name] for chunk in chunks]))
    return Resampled(
        {name: np.array(values) for name, values in point.items()},
        {name: np.stack(values) for name, values in drawn.items()},
    )


def difference(first: Resampled, second: Resampled, metric: str, *, relative: bool = False, seed: int = 0) -> Estimate:
    """`first` minus `second`, paired by seed and by resample of the images.

    A resample draws seeds with replacement as well, so the interval says what other seeds and other images of the
    same kind may give. With one seed its chance is left out, which makes the interval too narrow.

    Args:
        first, second: of the same images, resamples and number of seeds, in the same order of seeds.
        metric: one of `SCALAR_METRICS`.
        relative: the mean of `first` over the mean of `second`, minus 1, instead of the difference.
        seed: of the draws of seeds.
    """

    def compared(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        return ratio(ones, others) - 1 if relative else ones - others

    values = compared(_drawn(first, metric, seed), _drawn(second, metric, seed))
    return _estimate(float(compared(first.point[metric].mean(), second.point[metric].mean())), values)


def level(of: Resampled, metric: str, *, seed: int = 0) -> Estimate:
    """A metric itself, with both sources of chance in its interval, as those of `difference`. It has no p-value: NaN.

    Args:
        of: an arm.
        metric: one of `SCALAR_METRICS`.
        seed: of the draws of seeds.
    """
    return _estimate(float(of.point[metric].mean()), _drawn(of, metric, seed))._replace(p_value=float("nan"))


def _drawn(of: Resampled, metric: str, seed: int) -> np.ndarray:
    """The mean over seeds in each resample, the seeds drawn as well: float [resamples]."""
    seeds, resamples = of.drawn[metric].shape
    # Another stream than that of the images' groups, whose draws begin with the same numbers otherwise.
    draws = np.random.default_rng([seed, 1]).integers(seeds, size=(seeds, resamples))
    drawn: np.ndarray = of.drawn[metric][draws, np.arange(resamples)].mean(axis=0)
    return drawn


def _estimate(value: float, values: np.ndarray) -> Estimate:
    """Of a value and its resamples; NaN among these are left out."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(values, [2.5, 97.5])
    # The observed value counts as one draw, so that no p-value is 0 (Davison and Hinkley 1997, section 4.2).
    tails = [(1 + np.sum(values <= 0)) / (1 + len(values)), (1 + np.sum(values >= 0)) / (1 + len(values))]
    return Estimate(value, float(low), float(high), float(min(1.0, 2 * min(tails))))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being many (Holm 1979): below 0.05 with probability 0.05 if none stands for anything.

    NaN stays NaN and is not counted.
    """
    values = np.asarray(p_values, np.float64)
    corrected = np.full(len(values), np.nan)
    order = [int(index) for index in np.argsort(values) if not np.isnan(values[index])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[index]))
        corrected[index] = largest
    return corrected.tolist()
