"""The calibration error by hand."""

import numpy as np
import pytest

from jaxcaps.evaluation.classification import classification_metrics


def test_calibration_error_by_hand():
    # Two predictions of confidence 0.8, one right: gap 0.3; two of 0.55, both right: gap 0.45.
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.55, 0.45], [0.55, 0.45]])
    metrics = classification_metrics(np.array([0, 1, 0, 0]), probabilities, ("a", "b"))
    assert metrics["ece"] == pytest.approx(0.5 * 0.3 + 0.5 * 0.45)
