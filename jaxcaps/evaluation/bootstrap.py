"""Bootstrap intervals: how much the metrics would move on other examples, or other patients, of the same kind."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxcaps.evaluation.metrics import (
    SCALAR_METRICS,
    calibration_error,
    confusion_scores,
    ratio,
    scored_examples,
)

# Weights held at a time, examples times resamples: 8 MB of float64, chosen by measuring 2**16 to 2**22.
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
    """Percentile bootstrap intervals (Efron 1979) of the scalar metrics of `classification_metrics`.

    Frames of one patient or lesion resemble each other, so with `groups` whole groups are drawn, as many as there
    are; single examples drawn apart would give intervals that are too narrow.

    Args:
        labels: int [n]; examples of label -1 (unknown) are left out.
        probabilities: [n, classes].
        class_names: the classes in order.
        groups: int [n]; every value, whichever, names one group. None draws single examples.
        resamples: how many samples to draw.
        seed: the same seed gives the same intervals.
        level: the share of the resamples between the two ends.

    Returns:
        {metric: (low, high)}, over the resamples in which the metric is defined; (NaN, NaN) where it is in none, or
        where there are fewer than two groups (or examples) to draw from.

    Raises:
        ValueError, UserError: as `classification_metrics`.
    """
    labels, probabilities, known = scored_examples(labels, probabilities, len(class_names))
    units = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    if units.max() == 0:
        return {name: (float("nan"), float("nan")) for name in SCALAR_METRICS}
    chunks = [scores(labels, probabilities, weights) for weights in resample_weights(units, resamples, seed)]
    values = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in SCALAR_METRICS}
    return {name: _percentiles(values[name], level) for name in SCALAR_METRICS}


def resample_weights(units: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each example occurs in each resample: chunks float64 [n, some of the resamples].

    Args:
        units: int [n] from 0 on, the unit each example belongs to; units are drawn with replacement.
        resamples: the resamples of all chunks together.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    count = int(units.max()) + 1
    step = max(1, CHUNK // len(units))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(count, size=(count, size))
        times = np.bincount((drawn * size + np.arange(size)).ravel(), minlength=count * size)
        yield times.reshape(count, size).astype(np.float64)[units]


def weighted_roc_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ROC-AUC under several weightings: the weighted share of (positive, negative) pairs in order, ties half.

    Args:
        positive: bool [n].
        scores: [n], higher for the positives.
        weights: float [n, weightings].

    Returns:
        float [weightings], NaN where all positives or all negatives weigh nothing.
    """
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives])]
    below, up_to = (np.searchsorted(scores[negatives], scores[positive], side) for side in ("left", "right"))
    # The weight of the first k negatives, for k = 0 to all.
    cumulative = np.zeros((len(negatives) + 1, weights.shape[1]))
    np.cumsum(weights[negatives], axis=0, out=cumulative[1:])
    of_positives = weights[positive]
    ordered = np.einsum("pw,pw->w", of_positives, cumulative[below] + cumulative[up_to]) / 2
    return ratio(ordered, of_positives.sum(axis=0) * cumulative[-1])


def scores(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every scalar metric of `classification_metrics`, float [weightings], under several weightings of the examples.

    Args:
        labels: int [n], none unknown.
        probabilities: [n, classes].
        weights: float [n, weightings].
    """
    classes = probabilities.shape[1]
    areas = np.array([weighted_roc_auc(labels == index, probabilities[:, index], weights) for index in range(classes)])
    defined = ~np.isnan(areas)
    return {
        **confusion_scores(_confusions(labels, probabilities.argmax(axis=1), classes, weights)),
        "macro_roc_auc": ratio(np.sum(areas, axis=0, where=defined), defined.sum(axis=0)),
        "ece": calibration_error(labels, probabilities, weights),
    }


def _confusions(labels: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray) -> np.ndarray:
    """The confusion matrices [weightings, classes, classes]."""
    cells = labels * classes + predicted
    order = np.argsort(cells, kind="stable")
    occupied, starts = np.unique(cells[order], return_index=True)
    confusions = np.zeros((weights.shape[1], classes * classes))
    confusions[:, occupied] = np.add.reduceat(weights[order], starts, axis=0).T
    return confusions.reshape(-1, classes, classes)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
