"""Bootstrap intervals against a plain loop."""

import math

import numpy as np

from jaxcaps.evaluation.bootstrap import bootstrap_intervals, resample_weights
from jaxcaps.evaluation.classification import classification_metrics
from jaxcaps.evaluation.metrics import METRICS
from tests.evaluation.cases import NAMES, random_case


def test_intervals_equal_those_of_a_plain_loop_over_the_same_groups():
    labels, probabilities = random_case(0)
    groups = np.arange(40) // 4
    intervals = bootstrap_intervals(labels, probabilities, NAMES, groups=groups, resamples=50, seed=3)
    weights = np.concatenate(list(resample_weights(groups, 50, 3)), axis=1).astype(int)
    values = {name: [] for name in METRICS}
    for column in weights.T:
        assert all(len(set(column[groups == group])) == 1 for group in range(10)), "a group was torn apart"
        rows = np.repeat(np.arange(40), column)
        scores = classification_metrics(labels[rows], probabilities[rows], NAMES)
        for name in METRICS:
            values[name].append(scores[name])
    for name in METRICS:
        np.testing.assert_allclose(intervals[name], np.quantile(values[name], [0.025, 0.975]), err_msg=name)


def test_groups_of_like_examples_widen_the_intervals():
    labels, probabilities = random_case(1, count=30)
    labels, probabilities, groups = (
        np.repeat(labels, 8),
        np.repeat(probabilities, 8, axis=0),
        np.repeat(np.arange(30), 8),
    )
    apart = bootstrap_intervals(labels, probabilities, NAMES)["accuracy"]
    together = bootstrap_intervals(labels, probabilities, NAMES, groups=groups)["accuracy"]
    assert np.diff(together) > 2 * np.diff(apart)


def test_a_single_group_has_no_interval():
    labels, probabilities = random_case(2)
    intervals = bootstrap_intervals(labels, probabilities, NAMES, groups=np.zeros(40, int))
    assert all(math.isnan(low) for low, _ in intervals.values())
