"""Tests of every metric of the table."""

import warnings

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.evaluation.metrics import METRICS, ordered_metrics, weighted_scores
from jaxcaps.evaluation.metrics.base import WeightedPredictions
from tests.evaluation.cases import random_case

every_metric = pytest.mark.parametrize("name", METRICS)


def mean_roc_auc(labels, probabilities):
    return np.mean([oracle.roc_auc_score(labels == k, probabilities[:, k]) for k in np.unique(labels)])


def of_predicted(function, **settings):
    return lambda labels, probabilities: function(labels, probabilities.argmax(axis=1), **settings)


# Other metrics are compared with a reference or hand-worked values in their own test file.
ORACLES = {
    "accuracy": of_predicted(oracle.accuracy_score),
    "balanced_accuracy": of_predicted(oracle.balanced_accuracy_score),
    "chance_adjusted_balanced_accuracy": of_predicted(oracle.balanced_accuracy_score, adjusted=True),
    "macro_f1": of_predicted(oracle.f1_score, average="macro", zero_division=0),
    "mcc": of_predicted(oracle.matthews_corrcoef),
    "cohen_kappa": of_predicted(oracle.cohen_kappa_score),
    "macro_roc_auc": mean_roc_auc,
}


def value(name, labels, probabilities, weights=None):
    """Values for one weighting, or for each column of several."""
    weights = np.ones((len(labels), 1)) if weights is None else np.asarray(weights, float).reshape(len(labels), -1)
    return METRICS[name].function(WeightedPredictions(labels, probabilities, weights))


def test_the_printed_order_is_declared():
    ordered = ["accuracy", "balanced_accuracy", "chance_adjusted_balanced_accuracy", "macro_f1", "mcc", "cohen_kappa"]
    ordered += ["macro_roc_auc", "ece"]
    assert [name for name in ordered_metrics() if name in ordered] == ordered
    assert set(ordered_metrics()) == set(METRICS)


@pytest.mark.parametrize("name", ORACLES)
@given(seed=st.integers(0, 10_000), absent=st.sampled_from([None, 0, 2]))
def test_unit_weights_give_scikit_learns_value(name, seed, absent):
    labels, probabilities = random_case(seed, absent=absent)
    with warnings.catch_warnings():
        # A class that is predicted but has no example.
        warnings.simplefilter("ignore", UserWarning)
        expected = ORACLES[name](labels, probabilities)
    np.testing.assert_allclose(value(name, labels, probabilities), [expected], atol=1e-12)


@every_metric
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
def test_integer_weights_repeat_examples_and_0_leaves_them_out(name, seed, classes):
    numbers = np.random.default_rng(seed)
    labels = numbers.integers(0, classes, 12)
    # Multiples of 1/16, so that scores tie.
    probabilities = numbers.multinomial(16, np.ones(classes) / classes, 12) / 16
    weights = numbers.integers(0, 3, (12, 3))
    weights[0] = 1
    repeated = [numbers.permutation(np.repeat(np.arange(12), column)) for column in weights.T]
    expected = [value(name, labels[rows], probabilities[rows])[0] for rows in repeated]
    np.testing.assert_allclose(value(name, labels, probabilities, weights), expected, rtol=1e-9, atol=1e-12)


@every_metric
def test_a_metric_is_nan_if_all_weights_are_0(name):
    labels, probabilities = random_case(0)
    assert np.isnan(value(name, labels, probabilities, np.zeros(len(labels)))).all()


@every_metric
def test_the_direction_prefers_perfect_predictions_to_random_ones(name):
    labels, random = random_case(1)
    gain = value(name, labels, np.eye(3)[labels]) - value(name, labels, random)
    assert gain > 0 if METRICS[name].higher_is_better else gain < 0


@every_metric
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5))
def test_a_value_lies_within_the_bounds(name, seed, classes):
    labels, random = random_case(seed, classes=classes)
    low, high = METRICS[name].bounds
    for probabilities in (random, np.eye(classes)[labels], np.eye(classes)[(labels + 1) % classes]):
        assert low - 1e-9 <= value(name, labels, probabilities) <= high + 1e-9


def test_metrics_computed_together_equal_those_computed_alone():
    labels, probabilities = random_case(2)
    weights = np.random.default_rng(2).integers(0, 3, (len(labels), 2)).astype(float)
    together = weighted_scores(labels, probabilities, weights)
    assert list(together) == list(ordered_metrics())
    for name, found in together.items():
        np.testing.assert_array_equal(found, value(name, labels, probabilities, weights))
