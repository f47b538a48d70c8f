"""Expected calibration error."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, ratio

# Guo et al. 2017, section 5.
BINS = 15


def ece(predictions: WeightedPredictions) -> np.ndarray:
    """The mean gap between confidence and accuracy over 15 bins of equal width (Guo et al. 2017, equation 3).

    The confidence is the highest probability of an example; bins are (lower, upper].
    """
    confidences = np.max(predictions.probabilities, axis=1)
    bins = np.digitize(confidences, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    examples = np.arange(len(confidences))
    gaps = np.zeros((BINS, len(confidences)))
    gaps[bins, examples] = (predictions.predicted == predictions.labels) - confidences
    return ratio(np.sum(np.abs(gaps @ predictions.weights), axis=0), predictions.total)


METRIC = Metric(ece, title="calibration error (ECE)", higher_is_better=False, bounds=(0, 1), rank=80, in_studies=False)
