"""Bootstrap intervals: the variation of metrics over other examples, or other patients, of the same population."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxcaps.evaluation.classification import labelled_examples
from jaxcaps.evaluation.metrics import ordered_metrics, weighted_scores

# Number of weights (examples times resamples) held in memory: 8 MB of float64, the fastest of 2**16 to 2**22.
CHUNK = 2**20


def bootstrap_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals (Efron 1979) of every metric.

    Frames of one patient or lesion resemble each other. With `groups`, a resample therefore draws whole groups, as many
    as the data has. Drawing single examples would make the intervals too narrow.

    Args:
        labels: int [n]; examples with label -1 (unknown) are left out.
        probabilities: [n, classes].
        class_names: the classes in order.
        groups: int [n]; examples with the same value belong to one group. None draws single examples.
        resamples: number of resamples to draw.
        seed: the same seed gives the same intervals.
        level: the confidence level.

    Returns:
        {metric: (low, high)}, over the resamples in which the metric is defined; (NaN, NaN) if it is defined in none,
        or if there are fewer than two groups (or examples).

    Raises:
        ValueError, UserError: as `classification_metrics`.
    """
    labels, probabilities, known = labelled_examples(labels, probabilities, len(class_names))
    units = resampled_units(groups, known)
    if units.max() == 0:
        return dict.fromkeys(ordered_metrics(), (float("nan"), float("nan")))
    values = resampled_scores(labels, probabilities, units, resamples, seed)
    return {name: percentiles(each, level) for name, each in values.items()}


def resampled_scores(
    labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Every metric of each resample, {metric: float [resamples]}; see `weighted_scores` and `resample_weights`."""
    chunks = [weighted_scores(labels, probabilities, weights) for weights in resample_weights(units, resamples, seed)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def resampled_units(groups: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    """The unit of each known example that a resample draws, counted from 0: its group, or itself without groups.

    Args:
        groups: int [n].
        known: bool [n], as `labelled_examples` returns it.
    """
    if groups is None:
        return np.arange(int(known.sum()))
    units: np.ndarray = np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    return units


def resample_weights(units: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields how often each example occurs in each resample, in chunks float64 [n, resamples of the chunk].

    Args:
        units: int [n], counted from 0: the unit of each example. Units are drawn with replacement.
        resamples: the total number of resamples.
        seed: seed of the draws.
    """
    generator = np.random.default_rng(seed)
    count = int(units.max()) + 1
    step = max(1, CHUNK // len(units))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(count, size=(count, size))
        times = np.bincount((drawn * size + np.arange(size)).ravel(), minlength=count * size)
        yield times.reshape(count, size).astype(np.float64)[units]


def percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    """The ends of the central interval of the values that are not NaN; (NaN, NaN) if all are."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
