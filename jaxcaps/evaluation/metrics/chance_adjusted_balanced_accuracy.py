"""Balanced accuracy, rescaled so that chance scores 0 and a perfect classifier 1."""

import numpy as np

from jaxcaps.evaluation.metrics.balanced_accuracy import balanced_accuracy
from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, ratio


def chance_adjusted_balanced_accuracy(predictions: WeightedPredictions) -> np.ndarray:
    """(balanced accuracy - 1/K) / (1 - 1/K), where K is the number of classes with examples; undefined for one class.

    This is scikit-learn's `balanced_accuracy_score(adjusted=True)`. Always predicting one of the K classes scores 0.
    """
    present = np.sum(predictions.true_sum > 0, axis=1)
    chance = ratio(np.ones(len(present)), present)
    return ratio(balanced_accuracy(predictions) - chance, 1 - chance)


METRIC = Metric(
    chance_adjusted_balanced_accuracy,
    title="balanced accuracy, adjusted",
    panel="agreement beyond chance",
    higher_is_better=True,
    bounds=(-1, 1),
    rank=30,
    in_studies=False,
)
