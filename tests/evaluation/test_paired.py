"""Paired differences over seeds and groups of images, and Holm's correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.evaluation.classification import classification_metrics
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.evaluation.paired import difference, holm, level, resample

CLASSES = ("a", "b")


def predictions(rng, labels, right, seeds):
    """Probabilities [seeds, n, 2], of which a share of about `right` is correct."""
    hit = rng.random((seeds, len(labels))) < right
    best = np.where(hit, labels, 1 - labels)
    return np.stack([np.where(best == 0, 0.8, 0.2), np.where(best == 0, 0.2, 0.8)], axis=-1)


def test_point_estimates_are_the_metrics_of_each_seed():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    probabilities = predictions(rng, labels, 0.7, 3)
    found = resample(labels, probabilities, CLASSES, np.arange(60), resamples=10)
    for seed in range(3):
        whole = classification_metrics(labels, probabilities[seed], CLASSES)
        for metric in METRICS:
            np.testing.assert_allclose(found.point[metric][seed], whole[metric], rtol=1e-12)
            assert found.drawn[metric].shape == (3, 10)


def test_the_interval_is_that_of_a_loop_over_seeds_and_groups():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 2)
    labels = rng.integers(0, 2, 40)[groups]
    first, second = predictions(rng, labels, 0.8, 3), predictions(rng, labels, 0.6, 3)
    one, other = (resample(labels, each, CLASSES, groups, resamples=4000) for each in (first, second))
    found = difference(one, other, "accuracy")
    right = [each.argmax(axis=-1) == labels for each in (first, second)]
    assert found.value == pytest.approx(right[0].mean() - right[1].mean())
    values = []
    for _ in range(4000):
        drawn = rng.integers(0, 40, 40)
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        seeds = rng.integers(0, 3, 3)
        values.append(right[0][seeds][:, rows].mean() - right[1][seeds][:, rows].mean())
    np.testing.assert_allclose([found.low, found.high], np.percentile(values, [2.5, 97.5]), atol=0.012)


def test_the_interval_of_a_level_is_that_of_a_loop_over_seeds_and_groups():
    """With few groups and seeds, the interval would change if both used the same random numbers."""
    rng = np.random.default_rng(2)
    labels, groups = rng.integers(0, 2, 12), np.arange(12) // 2
    given = predictions(rng, labels, 0.7, 6)
    given[0] = np.eye(2)[labels]
    found = level(resample(labels, given, CLASSES, groups, resamples=8000), "accuracy")
    right = given.argmax(axis=-1) == labels
    assert found.value == pytest.approx(right.mean())
    assert np.isnan(found.p_value)
    values = []
    for _ in range(8000):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in rng.integers(0, 6, 6)])
        values.append(right[rng.integers(0, 6, 6)][:, rows].mean())
    np.testing.assert_allclose([found.low, found.high], np.percentile(values, [2.5, 97.5]), atol=0.02)


def test_the_relative_difference_is_a_share_of_the_second():
    labels = np.array([0, 1] * 20)
    all_right = np.eye(2)[labels][None]
    half_right = np.eye(2)[np.where(np.arange(40) < 20, labels, 1 - labels)][None]
    one, other = (resample(labels, each, CLASSES, np.arange(40), resamples=200) for each in (all_right, half_right))
    assert difference(one, other, "accuracy", relative=True).value == pytest.approx(1.0)
    assert difference(one, other, "accuracy").value == pytest.approx(0.5)


def test_equal_arms_differ_by_nothing_and_are_never_significant():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 50)
    arm = resample(labels, predictions(rng, labels, 0.7, 4), CLASSES, np.arange(50), resamples=300)
    assert difference(arm, arm, "balanced_accuracy") == (0.0, 0.0, 0.0, 1.0)


def test_intervals_have_the_promised_coverage():
    """For arms of equal quality, the interval of the difference excludes 0 in about one of twenty trials."""
    missed = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        labels = rng.integers(0, 2, 80)
        one, other = (
            resample(labels, predictions(rng, labels, 0.7, 4), CLASSES, np.arange(80), resamples=200, seed=trial)
            for _ in range(2)
        )
        found = difference(one, other, "accuracy", seed=trial)
        missed += not found.low <= 0 <= found.high
    assert missed <= 8


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, then made non-decreasing.
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    found = holm([0.04, float("nan"), 0.5])
    assert found[0] == pytest.approx(0.08)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(0.5)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    corrected = holm(p_values)
    assert all(after >= before - 1e-12 for before, after in zip(p_values, corrected, strict=True))
    assert all(after <= 1 for after in corrected)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
