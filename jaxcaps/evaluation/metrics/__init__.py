"""The table of metrics: one file per metric, found by its name.

To add a metric, add a file `<name>.py` that defines `METRIC`, a `Metric`. It then appears with its interval in
`metrics.json`, the printed tables, the figures and the tables of studies, and `--best-metric` accepts it.
`tests/evaluation/metrics/test_conformity.py` tests it.
"""

from functools import cache

import numpy as np

from data_prep.registry import Registry
from jaxcaps.evaluation.metrics.base import Metric, WeightedPredictions

METRICS: Registry[Metric] = Registry(__name__, "METRIC", what="metric", separator="_")


@cache
def ordered_metrics() -> dict[str, Metric]:
    """All metrics by name, in the order of the printed table."""
    return dict(sorted(METRICS.items(), key=lambda item: (item[1].rank, item[0])))


def weighted_scores(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Computes every metric under several weightings of the examples.

    Args:
        labels: int [n], each a class.
        probabilities: float [n, classes].
        weights: float [n, weightings].

    Returns:
        {metric: float [weightings]}, in the order of the printed table.
    """
    predictions = WeightedPredictions(labels, probabilities, weights)
    return {name: metric.function(predictions) for name, metric in ordered_metrics().items()}
