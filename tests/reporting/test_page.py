"""The page: its sections for each kind of run, its escaping, its size."""

import dataclasses
import json
import re

import numpy as np
import pytest

from jaxcaps.reporting.comparison import compare
from jaxcaps.reporting.network_sections import capsules
from jaxcaps.reporting.page import render
from jaxcaps.reporting.results import read_results
from tests.reporting import build

CALIBRATION = {
    "temperature": 1.25,
    "fitted_on": 9,
    "before": {"ece": 0.2, "log_loss": 0.4},
    "after": {"ece": 0.1, "log_loss": None},
}


def sections(page):
    return re.findall(r'<section id="([a-z]+)"', page)


@pytest.fixture(scope="module")
def classifier_page(tmp_path_factory):
    """The page of a classifier with everything a folder can hold, beside another run. All names are markup."""
    root = tmp_path_factory.mktemp("runs")
    names = tuple(f"{n}{build.HOSTILE[n % 3]}" for n in range(build.COUNT))
    folder = build.classifier(root / "<b>mine", classes=build.HOSTILE, names=names)
    other = build.classifier(root / "<i>other", classes=build.HOSTILE, names=names, seed=5)
    scored = json.loads((folder / "metrics.json").read_text()) | {"data": "csv:/secret/place/labels.csv"}
    scored["accuracy"] = 0.123
    (folder / "metrics-test.json").write_text(json.dumps(scored))
    (folder / "calibration.json").write_text(json.dumps(CALIBRATION))
    comparisons = compare(read_results(folder), [read_results(other)])
    return render(build.inputs(folder, names=names, comparisons=comparisons, groups=build.labels() // 2))


def test_the_page_of_a_classifier_has_all_its_sections(classifier_page):
    assert sections(classifier_page) == [
        "comparison", "run", "scores", "elsewhere", "confusion", "thresholds", "mistakes", "reconstructions",
        "embedding", "capsules", "training", "configuration",
    ]  # fmt: skip
    for words in (
        "majority baseline",
        "divided by 1.250",
        "fitted on 9 ",
        "0.200",
        "group",
        "sensitivity at specificity 0.9",
    ):
        assert words in classifier_page, words


def test_the_page_shows_scores_of_evaluate_and_no_folders_of_the_data(classifier_page):
    assert "test of csv:labels.csv" in classifier_page
    assert "0.123" in classifier_page
    assert "/secret" not in classifier_page


def test_the_page_loads_nothing_and_is_small(classifier_page):
    without_library = re.sub(r"<script>.*?</script>", "", classifier_page, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!data:|#)', without_library)
    assert "default-src 'none'" in classifier_page
    assert len(classifier_page.encode()) < 2.5e6


def test_each_chart_has_a_picture_for_paper(classifier_page):
    charts = re.findall(r'data-chart="chart-([a-z0-9-]+)"', classifier_page)
    assert {"roc", "precision-recall", "reliability", "embedding", "primary", "entropy", "training-0"} <= set(charts)
    # One picture stands in for all training curves.
    others = [name for name in charts if not name.startswith("training")]
    assert classifier_page.count('class="still"') == len(others) + 1


def test_the_page_of_a_pre_training_run_has_its_diagnosis(tmp_path):
    warning = "The couplings are uniform (entropy 0.998 of 1): routing only averages"
    # A file name that is not UTF-8.
    names = ("\udcff.png", *build.split().names[1:])
    page = render(build.inputs(build.pretraining(tmp_path / "ssl", [warning]), names=names, made=False))
    assert page.encode("utf-8")
    assert sections(page) == ["run", "scores", "diagnosis", "embedding", "capsules", "training", "configuration"]
    assert warning in page
    assert "0.610" in page


def test_text_of_the_data_is_escaped(classifier_page):
    """Class names, file names and folders that are markup, in all places of the page."""
    for markup in ("<script>alert", "<img src=x", "<b>mine", "<i>other"):
        assert markup not in classifier_page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in classifier_page
    # Within the data of the charts the names are whole.
    texts = re.findall(r'data-chart="[^"]*">(.*?)</script>', classifier_page, flags=re.DOTALL)
    assert any(build.HOSTILE[0] in str(json.loads(text)) for text in texts)


def test_observed_pictures_without_labels_have_no_matrix_of_activations(tmp_path):
    inputs = build.inputs(build.classifier(tmp_path / "run"))
    assert capsules(inputs)["matrix"] is not None
    hidden = dataclasses.replace(inputs.split, labels=np.full(build.COUNT, -1, np.int32))
    assert capsules(dataclasses.replace(inputs, split=hidden))["matrix"] is None
