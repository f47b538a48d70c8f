"""Accuracy: the share of correct predictions."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions


def accuracy(predictions: WeightedPredictions) -> np.ndarray:
    """The share of correct predictions."""
    return predictions.mean(predictions.predicted == predictions.labels)


METRIC = Metric(accuracy, title="accuracy", panel="accuracy", higher_is_better=True, bounds=(0, 1), rank=10)
