"""Matthews correlation coefficient."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, ratio


def mcc(predictions: WeightedPredictions) -> np.ndarray:
    """The multi-class Matthews correlation coefficient (Gorodkin 2004).

    As in scikit-learn, it is 0 if only one class has examples or only one is predicted.
    """
    total, chance = predictions.total, predictions.agreement_by_chance
    agreement = np.sum(predictions.hits, axis=1) * total - chance
    true_spread, predicted_spread = (
        total**2 - np.sum(each**2, axis=1) for each in (predictions.true_sum, predictions.predicted_sum)
    )
    spread = true_spread * predicted_spread
    return np.where((spread > 0) | (total == 0), ratio(agreement, np.sqrt(spread)), 0.0)


METRIC = Metric(mcc, title="MCC", panel="agreement beyond chance", higher_is_better=True, bounds=(-1, 1), rank=50)
