"""Macro F1: the mean over classes of the harmonic mean of precision and recall."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, mean_of_defined, ratio


def macro_f1(predictions: WeightedPredictions) -> np.ndarray:
    """The mean F1 score over the classes that have examples or predictions."""
    return mean_of_defined(ratio(2 * predictions.hits, predictions.true_sum + predictions.predicted_sum))


METRIC = Metric(macro_f1, title="macro F1", panel="F1 and ROC-AUC", higher_is_better=True, bounds=(0, 1), rank=40)
