"""Temperature scaling of a classifier's probabilities (Guo et al. 2017, section 4.2)."""

import numpy as np
from scipy.special import log_softmax, softmax

# The temperature is searched for between 1/20 and 20.
LARGEST = 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fits the temperature that maximises the likelihood of the labels.

    The likelihood has one maximum in 1/temperature, because the log loss is convex in it.

    Args:
        logits: float [n, classes]; logarithms of probabilities serve as well.
        labels: int [n], -1 if unknown. Such examples do not count.

    Returns:
        A value in [1/20, 20]. It is 1 if no example is labelled, or if all labelled examples are classified correctly:
        then the likelihood only grows as the temperature falls, and the examples say nothing of how far.
    """
    known = labels >= 0
    logits, labels = np.asarray(logits, np.float64)[known], labels[known]
    if np.all(np.argmax(logits, axis=1) == labels):
        return 1.0

    # The import is slow, and only training needs it.
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(np.mean(scaled[np.arange(len(labels)), labels]))

    limit = np.log(LARGEST)
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Returns probabilities [n, classes], float64, from logits and a temperature."""
    probabilities: np.ndarray = softmax(np.asarray(logits, np.float64) / temperature, axis=1)
    return probabilities
