"""Comparison of two runs on the same pictures."""

import dataclasses

import numpy as np
import pytest

from jaxcaps.errors import UserError
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.reporting.comparison import compare, run_names
from jaxcaps.reporting.results import read_results
from jaxcaps.reporting.tables import differences
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


def test_the_table_of_differences_colours_those_that_are_clear(mine, tmp_path):
    """Certain predictions beside the same ones with the classes exchanged: better in every metric, whatever its
    direction."""
    exact = mine.predicted
    first = dataclasses.replace(mine, predicted=dataclasses.replace(exact, probabilities=_certain(exact.labels)))
    second = dataclasses.replace(mine, predicted=dataclasses.replace(exact, probabilities=_certain(exact.labels - 1)))
    (found,) = compare(first, [second])
    table = differences(found, "a", "b")
    assert list(table.columns) == ["metric", "difference", "a", "b"]
    rows = {row[0].text: row[1:] for row in table.rows}
    assert [cell.text for cell in rows["accuracy ↑"]] == ["+1.000", "1.000", "0.000"]
    assert rows["Brier score ↓"][0].text.startswith("-")
    assert {rows["accuracy ↑"][0].mark, rows["Brier score ↓"][0].mark} == {"good"}
    (reverse,) = compare(second, [first])
    assert {row[1].mark for row in differences(reverse, "b", "a").rows if row[1].mark} == {"bad"}


def _certain(labels):
    """Probabilities of 0.9 for the given classes."""
    return 0.85 * np.eye(3)[labels % 3] + 0.05


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
    (found,) = compare(mine, [other])
    np.testing.assert_array_equal(found.probabilities, mine.predicted.probabilities)


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


def test_a_bundle_is_called_by_its_own_place_and_not_by_where_it_was_unpacked(mine, tmp_path):
    other = read_results(build.pretraining(tmp_path / "unpacked" / "mine"), "site/mine.jaxcaps")
    assert run_names(mine, other) == (f"{tmp_path.name}/mine", "site/mine.jaxcaps")
    with pytest.raises(UserError, match=r"^site/mine\.jaxcaps is a pre-training run"):
        compare(mine, [other])
    other = read_results(build.classifier(tmp_path / "x" / "mine", classes=("a", "b", "c")), "site/mine.jaxcaps")
    with pytest.raises(UserError, match=r"^--compare=site/mine\.jaxcaps: its classes"):
        compare(mine, [other])
