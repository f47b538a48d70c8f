"""The declaration of a metric, and the predictions that it scores.

A metric is computed for many weightings at once. An integer weight counts an example that many times: unit weights give
the point estimate, and the counts of a bootstrap resample give the metric of that resample.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np


class WeightedPredictions:
    """Predictions of labelled examples under several weightings, and the intermediate results that metrics share.

    Args:
        labels: int [n], each a class.
        probabilities: float [n, classes]; each row sums to 1.
        weights: float [n, weightings], not negative.
    """

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray):
        self.labels, self.probabilities, self.weights = labels, probabilities, weights

    @cached_property
    def predicted(self) -> np.ndarray:
        """int [n]: the most probable class; ties go to the first."""
        return np.argmax(self.probabilities, axis=1)

    @cached_property
    def total(self) -> np.ndarray:
        """float [weightings]: the weight of all examples."""
        return np.sum(self.weights, axis=0)

    @cached_property
    def confusion(self) -> np.ndarray:
        """float [weightings, true class, predicted class]: the weights of the examples in each cell."""
        classes = self.probabilities.shape[1]
        cells = self.labels * classes + self.predicted
        order = np.argsort(cells, kind="stable")
        occupied, starts = np.unique(cells[order], return_index=True)
        confusions = np.zeros((self.weights.shape[1], classes * classes))
        confusions[:, occupied] = np.add.reduceat(self.weights[order], starts, axis=0).T
        return confusions.reshape(-1, classes, classes)

    @cached_property
    def hits(self) -> np.ndarray:
        """float [weightings, classes]: the weight of the correct predictions of each class."""
        return np.diagonal(self.confusion, axis1=1, axis2=2)

    @cached_property
    def true_sum(self) -> np.ndarray:
        """float [weightings, classes]: the weight of the examples of each class."""
        return np.sum(self.confusion, axis=2)

    @cached_property
    def predicted_sum(self) -> np.ndarray:
        """float [weightings, classes]: the weight of the predictions of each class."""
        return np.sum(self.confusion, axis=1)

    @cached_property
    def agreement_by_chance(self) -> np.ndarray:
        """float [weightings]: the expected number of correct predictions of a shuffled classifier, times `total`."""
        return np.sum(self.true_sum * self.predicted_sum, axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The weighted mean of a value of each example, [n] -> float [weightings]."""
        return ratio(values @ self.weights, self.total)


@dataclass(frozen=True)
class Metric:
    """A score of predictions.

    Attributes:
        function: predictions -> float [weightings], NaN if the metric is undefined.
        title: display name in figures and tables of studies.
        higher_is_better: whether a higher value is better.
        bounds: the smallest and the largest possible value.
        rank: position in tables, lower first; ties are sorted by name.
        panel: title of the panel of curves shared with other metrics; empty for a panel of its own.
        in_studies: whether tables of studies show it. Use False for a metric that is redundant there.
    """

    function: Callable[[WeightedPredictions], np.ndarray]
    title: str
    higher_is_better: bool
    bounds: tuple[float, float]
    rank: int = 1000
    panel: str = ""
    in_studies: bool = True


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, or NaN if the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.asarray(denominator) != 0)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis without NaN values; NaN, without a warning, if all are NaN."""
    defined = ~np.isnan(values)
    return ratio(np.sum(values, axis=-1, where=defined), np.sum(defined, axis=-1))
