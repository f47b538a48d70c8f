"""Balanced accuracy: the mean recall."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, mean_of_defined, ratio


def balanced_accuracy(predictions: WeightedPredictions) -> np.ndarray:
    """The mean recall over the classes that have examples."""
    return mean_of_defined(ratio(predictions.hits, predictions.true_sum))


METRIC = Metric(
    balanced_accuracy, title="balanced accuracy", panel="accuracy", higher_is_better=True, bounds=(0, 1), rank=20
)
