"""Expected calibration error."""

import numpy as np

from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions, ratio

# Guo et al. 2017, section 5.
BINS = 15


def confidence_bins(confidences: np.ndarray) -> np.ndarray:
    """Returns the bin of each confidence, int [n] from 0 to 14. The bins have equal width and are (lower, upper]."""
    return np.digitize(confidences, np.linspace(0, 1, BINS + 1)[1:-1], right=True)


def ece(predictions: WeightedPredictions) -> np.ndarray:
    """The mean gap between confidence and accuracy over 15 bins of equal width (Guo et al. 2017, equation 3).

    The confidence is the highest probability of an example.
    """
    confidences = np.max(predictions.probabilities, axis=1)
    examples = np.arange(len(confidences))
    gaps = np.zeros((BINS, len(confidences)))
    gaps[confidence_bins(confidences), examples] = (predictions.predicted == predictions.labels) - confidences
    return ratio(np.sum(np.abs(gaps @ predictions.weights), axis=0), predictions.total)


METRIC = Metric(ece, title="calibration error (ECE)", higher_is_better=False, bounds=(0, 1), rank=80, in_studies=False)
