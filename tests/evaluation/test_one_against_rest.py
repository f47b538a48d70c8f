"""Curves and operating points against hand-worked values and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from jaxcaps.evaluation.classification import classification_metrics
from jaxcaps.evaluation.one_against_rest import reliability, score_classes, threshold_scores


def test_operating_points_by_hand():
    """Ten negatives, of which one scores above two of the four positives.

    At one false alarm of ten (specificity 0.9) three positives are found: those of 0.9, 0.8 and 0.6, at threshold 0.6.
    To find 0.9 of four positives all four are needed, at threshold 0.2, where two negatives are called positive.
    """
    positive = np.array([1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], bool)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.2, *[0.1] * 8])
    found, thresholds = threshold_scores(positive, scores, np.ones((14, 1)))
    assert found["sensitivity_at_specificity"] == pytest.approx([0.75])
    assert thresholds["sensitivity_at_specificity"] == pytest.approx([0.6])
    assert found["specificity_at_sensitivity"] == pytest.approx([0.8])
    assert thresholds["specificity_at_sensitivity"] == pytest.approx([0.2])


def test_equal_scores_allow_no_rule_but_all_or_none():
    found, thresholds = threshold_scores(np.array([True, False, False]), np.full(3, 0.5), np.ones((3, 1)))
    assert found["roc_auc"] == [0.5]
    assert found["sensitivity_at_specificity"] == [0]
    assert thresholds["sensitivity_at_specificity"] == [np.inf]
    assert found["specificity_at_sensitivity"] == [0]


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_weighted_examples_equal_scikit_learns(seed):
    generator = np.random.default_rng(seed)
    positive = generator.random(60) < 0.3
    scores = np.round(generator.random(60) + 0.3 * positive, 1)
    weights = generator.integers(0, 4, (60, 3)).astype(float)
    found, _ = threshold_scores(positive, scores, weights)
    for column in range(3):
        weight = weights[:, column]
        assert found["roc_auc"][column] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weight))
        expected = average_precision_score(positive, scores, sample_weight=weight)
        assert found["average_precision"][column] == pytest.approx(expected)
        fpr, tpr, _ = roc_curve(positive, scores, sample_weight=weight, drop_intermediate=False)
        assert found["sensitivity_at_specificity"][column] == pytest.approx(tpr[1 - fpr >= 0.9 - 1e-9].max())
        assert found["specificity_at_sensitivity"][column] == pytest.approx((1 - fpr)[tpr >= 0.9 - 1e-9].max())


def test_a_class_without_examples_has_no_scores():
    found, thresholds = threshold_scores(np.zeros(3, bool), np.array([0.1, 0.2, 0.3]), np.ones((3, 1)))
    assert all(np.isnan(value).all() for value in (*found.values(), *thresholds.values()))


def test_scores_of_classes_agree_with_the_metrics_and_lie_in_their_intervals():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    probabilities = generator.dirichlet(np.ones(3), 90) + 0.5 * np.eye(3)[labels]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = score_classes(labels, probabilities, ("a", "b", "c"))
    metrics = classification_metrics(labels, probabilities, ("a", "b", "c"))
    assert found.values["recall"].tolist() == [each["recall"] for each in metrics["per_class"].values()]
    assert found.values["roc_auc"].mean() == pytest.approx(metrics["macro_roc_auc"])
    for name, value in found.values.items():
        low, high = found.intervals[name].T
        assert (low <= value).all(), name
        assert (value <= high).all(), name
    # Whole groups vary more than their examples.
    grouped = score_classes(np.repeat(labels, 5), np.repeat(probabilities, 5, axis=0), "abc", np.repeat(range(90), 5))
    np.testing.assert_allclose(grouped.intervals["recall"], found.intervals["recall"], atol=0.05)


def test_reliability_by_hand():
    labels = np.array([0, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.91, 0.09], [0.45, 0.55]])
    confidence, accuracy, count = reliability(labels, probabilities)
    np.testing.assert_allclose(confidence, [0.55, 0.905])
    np.testing.assert_allclose(accuracy, [0, 0.5])
    assert count.tolist() == [1, 2]
