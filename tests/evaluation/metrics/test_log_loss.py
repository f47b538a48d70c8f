"""Log loss by hand and against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.evaluation.classification import classification_metrics
from tests.evaluation.cases import NAMES, random_case


def test_log_loss_by_hand():
    # The true classes have probabilities 1/2 and 1/4: (ln 2 + ln 4) / 2.
    metrics = classification_metrics(np.array([0, 2]), np.array([[0.5, 0.5, 0], [0.5, 0.25, 0.25]]), NAMES)
    assert metrics["log_loss"] == pytest.approx(1.5 * np.log(2))


def test_a_probability_of_0_costs_a_finite_loss():
    wrong = classification_metrics(np.array([0]), np.array([[0.0, 1.0, 0.0]]), NAMES)["log_loss"]
    assert wrong == pytest.approx(52 * np.log(2))


@given(st.integers(0, 10_000))
def test_log_loss_is_scikit_learns(seed):
    labels, probabilities = random_case(seed)
    expected = sklearn.metrics.log_loss(labels, probabilities, labels=range(3))
    assert classification_metrics(labels, probabilities, NAMES)["log_loss"] == pytest.approx(expected)
