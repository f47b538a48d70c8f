"""Reading the files of a run."""

import numpy as np
import pytest

from jaxcaps.errors import UserError
from jaxcaps.reporting.results import read_results
from tests.reporting import build


def test_predictions_are_read_as_they_were_written(tmp_path):
    known = build.labels()
    known[3] = -1
    predicted = read_results(build.classifier(tmp_path / "run", classes=build.HOSTILE, known=known)).predicted
    assert predicted.classes == build.HOSTILE
    assert predicted.labels.tolist() == known.tolist()
    np.testing.assert_array_equal(predicted.probabilities, build.probabilities())


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("metrics.json", None, "has not finished"),
        ("metrics.json", "{", "metrics.json is damaged"),
        ("metrics.json", "[]", "expected an object, found list"),
        ("predictions.csv", None, "predictions.csv cannot be read"),
        ("predictions.csv", "", "predictions.csv is damaged"),
        ("predictions.csv", "name,group,label,predicted,probability_a\nx,0,b,a,1\n", "predictions.csv is damaged"),
        ("config.yaml", None, "not a run folder"),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path, name, text, words):
    folder = build.classifier(tmp_path / "run")
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=words):
        read_results(folder)
