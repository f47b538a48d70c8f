"""Comparison of two runs on the same pictures."""

import numpy as np
import pytest

from jaxcaps.errors import UserError
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.reporting.comparison import compare, other_probabilities
from jaxcaps.reporting.results import read_results
from tests.reporting import build


@pytest.fixture
def mine(tmp_path):
    return read_results(build.classifier(tmp_path / "mine"))


def test_differences_disagreements_and_their_order(mine, tmp_path):
    other = read_results(build.classifier(tmp_path / "other", seed=5))
    (found,) = compare(mine, [other])
    first, second, known = build.probabilities(0), build.probabilities(5), build.labels()
    right, also = first.argmax(axis=1) == known, second.argmax(axis=1) == known
    assert found.differences["accuracy"].value == pytest.approx(right.mean() - also.mean())
    assert found.differences.keys() == METRICS.keys()
    assert (found.only_mine, found.only_theirs) == (np.sum(right & ~also), np.sum(also & ~right))
    assert set(found.disagreements) == set(np.flatnonzero(first.argmax(axis=1) != second.argmax(axis=1)))
    gaps = np.abs(first - second)[np.arange(build.COUNT), known][found.disagreements]
    assert (np.diff(gaps) <= 0).all()


def test_a_run_does_not_differ_from_itself(mine):
    (found,) = compare(mine, [mine])
    assert all(gap[:3] == (0, 0, 0) for gap in found.differences.values())
    assert not len(found.disagreements)


def test_pictures_are_matched_by_name(mine, tmp_path):
    folder = build.classifier(tmp_path / "other")
    head, *rows = (folder / "predictions.csv").read_text().splitlines()
    (folder / "predictions.csv").write_text("\n".join([head, *reversed(rows)]) + "\n")
    other = read_results(folder)
    assert other.predicted.names[0] == "23.png"
    np.testing.assert_array_equal(other_probabilities(mine, other), mine.predicted.probabilities)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("benign", "malignant", "other")}, "classes"),
        ({"names": tuple(f"x{n}.png" for n in range(build.COUNT))}, "0 of 48 are in both"),
        ({"known": np.roll(build.labels(), 1)}, "24 validation pictures have another label"),
    ],
)
def test_runs_of_other_classes_or_data_are_refused(mine, tmp_path, changes, words):
    other = read_results(build.classifier(tmp_path / "other", **changes))
    with pytest.raises(UserError, match=words):
        compare(mine, [other])


def test_pre_training_runs_are_refused(mine, tmp_path):
    other = read_results(build.pretraining(tmp_path / "ssl"))
    with pytest.raises(UserError, match="compare fine-tuned runs"):
        compare(mine, [other])
