"""Full evaluation of a classifier: hand-worked values, comparison with scikit-learn, invalid input."""

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.errors import UserError
from jaxcaps.evaluation.classification import classification_metrics, majority_baseline
from tests.evaluation.cases import NAMES, one_hot, random_case


def test_a_confusion_matrix_worked_by_hand():
    # true a: 3 of 4 right; b: 1 of 2; c: 2 of 2.
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    metrics = classification_metrics(labels, one_hot([0, 0, 0, 1, 1, 2, 2, 2]), NAMES)
    assert metrics["confusion_matrix"] == [[3, 1, 0], [0, 1, 1], [0, 0, 2]]
    assert metrics["accuracy"] == 6 / 8
    assert metrics["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert metrics["chance_adjusted_balanced_accuracy"] == pytest.approx((0.75 - 1 / 3) / (2 / 3))
    assert metrics["macro_f1"] == pytest.approx((6 / 7 + 2 / 4 + 4 / 5) / 3)
    # Observed agreement 6/8, by chance (4*3 + 2*2 + 2*3) / 64.
    assert metrics["cohen_kappa"] == pytest.approx((6 / 8 - 22 / 64) / (1 - 22 / 64))
    assert metrics["per_class"]["b"] == {
        "precision": 0.5, "recall": 0.5, "specificity": pytest.approx(5 / 6), "f1": 0.5, "support": 2,
    }  # fmt: skip


@given(st.integers(0, 10_000), st.sampled_from([None, 0, 2]))
def test_the_numbers_of_each_class_are_scikit_learns(seed, absent):
    labels, probabilities = random_case(seed, absent=absent)
    predicted = probabilities.argmax(axis=1)
    per_class = classification_metrics(labels, probabilities, NAMES)["per_class"]
    for index, name in enumerate(NAMES):
        right = labels == index
        if right.any():
            assert per_class[name]["recall"] == pytest.approx(oracle.recall_score(right, predicted == index))
        assert per_class[name]["specificity"] == pytest.approx(oracle.recall_score(~right, predicted != index))


def test_the_majority_baseline_depends_only_on_training():
    baseline = majority_baseline(np.array([1, 1, 1, 0, 2]), np.array([0, 0, 1, 2]), NAMES)
    assert baseline["accuracy"] == 1 / 4
    assert baseline["balanced_accuracy"] == pytest.approx(1 / 3)
    assert baseline["macro_roc_auc"] == 0.5
    assert baseline["mcc"] == 0


def test_unlabelled_examples_are_left_out_and_at_least_one_label_is_needed():
    labels, probabilities = random_case(3)
    some = labels.copy()
    some[::2] = -1
    kept = classification_metrics(labels[1::2], probabilities[1::2], NAMES)
    assert {**classification_metrics(some, probabilities, NAMES), "notes": []} == kept
    with pytest.raises(UserError, match="has a label"):
        classification_metrics(np.full(40, -1), probabilities, NAMES)


def test_probabilities_that_are_not_finite_are_refused():
    labels, probabilities = random_case(4)
    probabilities[3] = np.nan
    with pytest.raises(UserError, match="1 of 40 examples are not finite"):
        classification_metrics(labels, probabilities, NAMES)
