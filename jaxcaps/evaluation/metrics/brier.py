"""Multi-class Brier score."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions


def brier(predictions: WeightedPredictions) -> np.ndarray:
    """The mean squared error of the probabilities against the one-hot labels, summed over classes (Brier 1950).

    It lies in [0, 2]. With two classes, it is twice the Brier score of the positive class.
    """
    one_hot = np.eye(predictions.probabilities.shape[1])[predictions.labels]
    return predictions.mean(np.sum((predictions.probabilities - one_hot) ** 2, axis=1))


METRIC = Metric(brier, title="Brier score", higher_is_better=False, bounds=(0, 2), rank=100)
