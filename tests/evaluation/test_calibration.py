"""Temperatures by hand, and what a temperature may not change."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import log_softmax

from jaxcaps.evaluation.calibration import LARGEST, calibrated, fit_temperature


def test_three_of_four_right_is_a_confidence_of_three_quarters():
    # All four pictures get the odds e^2 for class 0. The likelihood is highest at sigmoid(2 / T) = 3/4.
    logits = np.array([[2.0, 0.0]] * 4)
    temperature = fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert temperature == pytest.approx(2 / np.log(3), rel=1e-5)
    np.testing.assert_allclose(calibrated(logits, temperature), [[0.75, 0.25]] * 4, rtol=1e-5)


def test_unknown_labels_do_not_count():
    logits, labels = np.array([[2.0, 0.0]] * 6), np.array([0, 0, -1, 0, 1, -1])
    assert fit_temperature(logits, labels) == fit_temperature(logits[:4], labels[labels >= 0])


@pytest.mark.parametrize("labels", [[0, 1], [-1, -1]], ids=["all right", "none known"])
def test_predictions_that_say_nothing_of_the_temperature_keep_it_at_1(labels):
    assert fit_temperature(np.array([[3.0, 0.0], [0.0, 1.0]]), np.array(labels)) == 1.0


def test_predictions_no_better_than_chance_reach_the_highest_temperature():
    logits = np.array([[2.0, 0.0], [2.0, 0.0]])
    assert fit_temperature(logits, np.array([1, 1])) == pytest.approx(LARGEST, rel=1e-4)


@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_the_log_loss_never_rises_and_the_temperature_scales_with_the_logits(seed, factor):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(40, 3)) * 2
    labels = np.where(rng.random(40) < 0.6, logits.argmax(axis=1), rng.integers(0, 3, 40))
    temperature = fit_temperature(logits, labels)
    assume(LARGEST / 10 > temperature > 10 / LARGEST)

    def loss(temperature):
        return -np.mean(log_softmax(logits / temperature, axis=1)[np.arange(40), labels])

    assert all(loss(temperature) <= loss(other) + 1e-9 for other in (1.0, 0.9 * temperature, 1.1 * temperature))
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor * temperature, rel=1e-3)
    np.testing.assert_array_equal(calibrated(logits, temperature).argmax(axis=1), logits.argmax(axis=1))
