"""Metrics against hand-worked values and scikit-learn, intervals against a plain loop, files and tables."""

import csv
import json
import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.errors import UserError
from jaxcaps.evaluation.bootstrap import bootstrap_intervals, resample_weights, weighted_roc_auc
from jaxcaps.evaluation.metrics import SCALAR_METRICS, classification_metrics, majority_baseline
from jaxcaps.evaluation.plots import plot_confusion, plot_curves, plot_reconstructions
from jaxcaps.evaluation.table import metrics_table, write_metrics, write_predictions

NAMES = ("a", "b", "c")


def one_hot(predicted, classes=3):
    return np.eye(classes)[np.asarray(predicted)]


def random_case(seed, count=40, classes=3, absent=None):
    numbers = np.random.default_rng(seed)
    allowed = [index for index in range(classes) if index != absent]
    return numbers.choice(allowed, count), numbers.dirichlet(np.ones(classes), count)


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


def test_calibration_error_worked_by_hand():
    # Two predictions of confidence 0.8, one right: gap 0.3; two of 0.55, both right: gap 0.45.
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.55, 0.45], [0.55, 0.45]])
    metrics = classification_metrics(np.array([0, 1, 0, 0]), probabilities, ("a", "b"))
    assert metrics["ece"] == pytest.approx(0.5 * 0.3 + 0.5 * 0.45)


@given(st.integers(0, 10_000), st.sampled_from([None, 0, 2]))
def test_every_metric_is_scikit_learns(seed, absent):
    labels, probabilities = random_case(seed, absent=absent)
    predicted = probabilities.argmax(axis=1)
    metrics = classification_metrics(labels, probabilities, NAMES)
    with warnings.catch_warnings():
        # Of a class that is predicted but not present.
        warnings.simplefilter("ignore", UserWarning)
        assert metrics["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(labels, predicted))
        adjusted = oracle.balanced_accuracy_score(labels, predicted, adjusted=True)
    assert metrics["chance_adjusted_balanced_accuracy"] == pytest.approx(adjusted)
    assert metrics["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert metrics["mcc"] == pytest.approx(oracle.matthews_corrcoef(labels, predicted))
    assert metrics["cohen_kappa"] == pytest.approx(oracle.cohen_kappa_score(labels, predicted))
    assert metrics["macro_f1"] == pytest.approx(oracle.f1_score(labels, predicted, average="macro", zero_division=0))
    areas = [oracle.roc_auc_score(labels == k, probabilities[:, k]) for k in np.unique(labels)]
    assert metrics["macro_roc_auc"] == pytest.approx(np.mean(areas))
    for index, name in enumerate(NAMES):
        mine, right = metrics["per_class"][name], labels == index
        if right.any():
            assert mine["recall"] == pytest.approx(oracle.recall_score(right, predicted == index))
        assert mine["specificity"] == pytest.approx(oracle.recall_score(~right, predicted != index))


def test_the_majority_baseline_knows_training_alone():
    baseline = majority_baseline(np.array([1, 1, 1, 0, 2]), np.array([0, 0, 1, 2]), NAMES)
    assert baseline["accuracy"] == 1 / 4
    assert baseline["balanced_accuracy"] == pytest.approx(1 / 3)
    assert baseline["macro_roc_auc"] == 0.5
    assert baseline["mcc"] == 0


@given(st.integers(0, 1000))
def test_the_weighted_area_counts_an_example_as_often_as_its_weight(seed):
    numbers = np.random.default_rng(seed)
    positive, scores = numbers.random(12) < 0.5, numbers.integers(0, 5, 12) / 4
    positive[:2] = [True, False]
    weights = numbers.integers(0, 4, (12, 1))
    weights[:2] = 1
    rows = np.repeat(np.arange(12), weights[:, 0])
    expected = oracle.roc_auc_score(positive[rows], scores[rows])
    np.testing.assert_allclose(weighted_roc_auc(positive, scores, weights.astype(float)), [expected])


def test_intervals_equal_those_of_a_plain_loop_over_the_same_groups():
    labels, probabilities = random_case(0)
    groups = np.arange(40) // 4
    intervals = bootstrap_intervals(labels, probabilities, NAMES, groups=groups, resamples=50, seed=3)
    weights = np.concatenate(list(resample_weights(groups, 50, 3)), axis=1).astype(int)
    values = {name: [] for name in SCALAR_METRICS}
    for column in weights.T:
        assert all(len(set(column[groups == group])) == 1 for group in range(10)), "a group was torn apart"
        rows = np.repeat(np.arange(40), column)
        scores = classification_metrics(labels[rows], probabilities[rows], NAMES)
        for name in SCALAR_METRICS:
            values[name].append(scores[name])
    for name in SCALAR_METRICS:
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


def test_one_group_alone_has_no_interval():
    labels, probabilities = random_case(2)
    intervals = bootstrap_intervals(labels, probabilities, NAMES, groups=np.zeros(40, int))
    assert all(math.isnan(low) for low, _ in intervals.values())


def test_examples_without_a_label_are_left_out_and_none_at_all_is_refused():
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


def test_files_say_what_was_measured_and_nan_is_null(tmp_path):
    labels, probabilities = random_case(5)
    metrics = classification_metrics(np.zeros(40, int), one_hot(np.zeros(40, int)), NAMES)
    write_metrics(tmp_path / "metrics.json", metrics, {"accuracy": (math.nan, 1.0)}, metrics)
    read = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert read["macro_roc_auc"] is None
    assert read["intervals"]["accuracy"] == [None, 1.0]
    labels[0] = -1
    names = [f"ü {n}.png" for n in range(40)]
    write_predictions(tmp_path / "predictions.csv", names, np.arange(40), labels, probabilities, NAMES)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    assert rows[0]["label"] == ""
    assert [row["predicted"] for row in rows] == [NAMES[k] for k in probabilities.argmax(axis=1)]
    np.testing.assert_allclose([[float(row[f"probability_{n}"]) for n in NAMES] for row in rows], probabilities)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "predictions.csv"}


def test_the_table_fits_a_terminal_and_names_everything():
    labels, probabilities = random_case(6)
    metrics = classification_metrics(labels, probabilities, NAMES)
    intervals = bootstrap_intervals(labels, probabilities, NAMES, resamples=20)
    table = metrics_table(metrics, intervals, majority_baseline(labels, labels, NAMES))
    assert max(map(len, table.splitlines())) <= 100
    for word in (*SCALAR_METRICS, "majority baseline", "95% interval", "specificity", "confusion matrix"):
        assert word in table


def test_figures_are_drawn(tmp_path):
    rows = [{"step": n, "epoch": n, "train/loss": 1 / (n + 1), "validation/accuracy": n / 9} for n in range(9)]
    plot_curves(rows, tmp_path / "curves.png")
    plot_confusion(np.array([[3, 1], [0, 2]]), ("a", "b"), tmp_path / "confusion.png")
    plot_reconstructions([[np.zeros((8, 8, 3), np.uint8)] * 2] * 3, ["one", "two"], tmp_path / "reconstructions.png")
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())
