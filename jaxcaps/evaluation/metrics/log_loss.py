"""Log loss, also called cross-entropy or negative log-likelihood."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions

# Keeps the loss finite if the true class has probability 0; scikit-learn clips float64 probabilities at the same value.
LEAST = float(np.finfo(np.float64).eps)


def log_loss(predictions: WeightedPredictions) -> np.ndarray:
    """The mean of -ln(probability of the true class), with probabilities clipped to at least 2.2e-16."""
    of_true = np.take_along_axis(predictions.probabilities, predictions.labels[:, None], axis=1)[:, 0]
    return predictions.mean(-np.log(np.maximum(of_true, LEAST)))


METRIC = Metric(log_loss, title="log loss", higher_is_better=False, bounds=(0, -np.log(LEAST)), rank=90)
