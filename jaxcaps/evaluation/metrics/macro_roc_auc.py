"""Macro ROC-AUC: the mean area under the ROC curve of each class against the rest."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, mean_of_defined, ratio


def macro_roc_auc(predictions: WeightedPredictions) -> np.ndarray:
    """The mean ROC-AUC over the classes that have both positives and negatives; undefined for one class."""
    areas = [
        roc_auc(predictions.labels == index, scores, predictions.weights)
        for index, scores in enumerate(predictions.probabilities.T)
    ]
    return mean_of_defined(np.stack(areas, axis=1))


def roc_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted share of (positive, negative) pairs that the scores rank correctly; ties count half.

    Args:
        positive: bool [n].
        scores: float [n], higher for positives.
        weights: float [n, weightings].

    Returns:
        float [weightings], NaN if the weight of all positives or of all negatives is 0.
    """
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives])]
    below, up_to = (np.searchsorted(scores[negatives], scores[positive], side) for side in ("left", "right"))
    # The weight of the first k negatives, for k = 0 to all.
    cumulative = np.zeros((len(negatives) + 1, weights.shape[1]))
    np.cumsum(weights[negatives], axis=0, out=cumulative[1:])
    of_positives = weights[positive]
    ordered = np.einsum("pw,pw->w", of_positives, cumulative[below] + cumulative[up_to]) / 2
    return ratio(ordered, np.sum(of_positives, axis=0) * cumulative[-1])


METRIC = Metric(
    macro_roc_auc, title="macro ROC-AUC", panel="F1 and ROC-AUC", higher_is_better=True, bounds=(0, 1), rank=70
)
