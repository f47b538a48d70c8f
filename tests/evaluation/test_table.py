"""Printed tables and files."""

import csv
import json
import math

import numpy as np
import pytest

from jaxcaps.evaluation.bootstrap import bootstrap_intervals
from jaxcaps.evaluation.classification import classification_metrics, majority_baseline
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.evaluation.paired import Estimate
from jaxcaps.evaluation.table import differences_table, metrics_table, write_metrics, write_predictions
from tests.evaluation.cases import NAMES, one_hot, random_case


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
    for word in (*METRICS, "majority baseline", "95% interval", "specificity", "confusion matrix"):
        assert word in table


def test_the_table_is_plain_text_and_long_names_are_cut_short(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    labels, probabilities = random_case(7)
    lines = metrics_table(classification_metrics(labels, probabilities, ("[bold]a", "b" * 40, "c"))).splitlines()
    assert "\x1b" not in "".join(lines)
    assert any(line.startswith("[bold]a  ") for line in lines)
    assert any(line.startswith("b" * 27 + "…  ") for line in lines)


@pytest.mark.parametrize(("classes", "told"), [(12, "\n10 polyp of type 9 "), (60, "60 classes are too many to print")])
def test_a_wide_confusion_matrix_has_numbered_columns_and_one_still_wider_is_left_out(classes, told):
    names = [f"polyp of type {number}" for number in range(classes)]
    table = metrics_table(classification_metrics(*random_case(8, count=600, classes=classes), names))
    assert told in table
    assert max(map(len, table.splitlines())) <= 100


def test_two_runs_stand_side_by_side_with_their_difference():
    none = Estimate(math.nan, math.nan, math.nan, math.nan)
    levels = {"accuracy": (Estimate(0.9, 0.8, 1, 0), Estimate(0.75, 0.6, 0.9, 0)), "mcc": (none, none)}
    table = differences_table(("mine", "random"), levels, {"accuracy": Estimate(0.15, -0.05, 0.3, 0.1), "mcc": none})
    assert table == (
        "metric     mine  random  difference     95% interval\n"
        "accuracy  0.900   0.750      +0.150  [-0.050, 0.300]\n"
        "mcc           -       -           -                -"
    )
