"""The Brier score by hand and against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.evaluation.classification import classification_metrics
from tests.evaluation.cases import NAMES, random_case


def test_the_brier_score_by_hand():
    # (0.5 - 1)^2 + 0.5^2 + 0 = 0.5, and a confident mistake: 1 + 1 = 2.
    metrics = classification_metrics(np.array([0, 0]), np.array([[0.5, 0.5, 0], [0, 0, 1]]), NAMES)
    assert metrics["brier"] == pytest.approx((0.5 + 2) / 2)


@given(st.integers(0, 10_000))
def test_the_brier_score_is_scikit_learns(seed):
    labels, probabilities = random_case(seed)
    expected = sklearn.metrics.brier_score_loss(labels, probabilities, labels=range(3), scale_by_half=False)
    assert classification_metrics(labels, probabilities, NAMES)["brier"] == pytest.approx(expected)
