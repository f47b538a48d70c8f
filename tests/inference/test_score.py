"""`jaxcaps.evaluate` on pictures from elsewhere: all of them, of some of the run's classes."""

import csv
import json

import cv2
import numpy as np
import pytest

from jaxcaps.plan.flags import parse_config
from jaxcaps.training.folder import contents_of, read_config, write_learnt
from jaxcaps.training.setup import load_data
from tests.command import run
from tests.inference.build import write_run


def write_pictures(folder, labels, seed, splits=False):
    """Writes one picture for each label, which a split may follow. Returns the value of `--data`."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(len(labels)):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (16, 16, 3), np.uint8))
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    (folder / "labels.csv").write_text(f"path,label{',split' if splits else ''}\n{rows}")
    return f"csv:{folder}/labels.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of the classes 2, 10 and a, and an outside cohort, `other`, of 2 and 10."""
    folder = tmp_path_factory.mktemp("score")
    data = write_pictures(folder / "own", [*"2222", *["10"] * 4, *"aaaaaa"] * 2, seed=0)
    flags = ["--stage=finetune", "--preset=tiny", "--batch-size=8", "--effective-batch=8", "--extra-convs=3"]
    config = parse_config([*flags, f"--data={data}", f"--out={folder}/run"])
    write_run(config, folder / "run")
    # The splits of the cohort are incomplete: they do not matter.
    write_pictures(folder / "other", ["10,train", "2,validation", "10,test", ",", "2,"], seed=1, splits=True)
    return folder


@pytest.fixture
def evaluate(place, capsys):
    def command(data, *more):
        place_of_data = f"--data=csv:{place}/{data}/labels.csv"
        return run(capsys, f"--restore={place}/run", place_of_data, *more, command="evaluate")

    return command


def test_all_pictures_of_a_cohort_without_one_of_the_classes_are_scored_by_name(place, evaluate):
    outcome = evaluate("other", "--split=all")
    assert outcome.status == 0, outcome.errors
    assert "All: 5 images (2 2, 10 2, unlabelled 1)." in outcome.output
    assert "No example of a: balanced accuracy and ROC-AUC are over the 2 classes present." in outcome.output
    assert "The majority baseline predicts a, so it is never right here." in outcome.output
    with (place / "run" / "predictions-all-other.csv").open() as file:
        rows = list(csv.DictReader(file))
    # The cohort's own order of its classes is another: numbers come first by value, not as text.
    assert [row["label"] for row in rows] == ["10", "2", "10", "", "2"]
    metrics = json.loads((place / "run" / "metrics-all-other.json").read_text())
    hits = [row["predicted"] == row["label"] for row in rows if row["label"]]
    assert metrics["accuracy"] == np.mean(hits)
    assert [each["support"] for each in metrics["per_class"].values()] == [2, 2, 0]
    # Reading all of some data reads its test split.
    assert "csv:" in (place / "ledger.csv").read_text()


def test_an_unknown_class_is_refused_and_named(place, evaluate):
    write_pictures(place / "strange", ["2", "10", "A"], seed=2)
    outcome = evaluate("strange", "--split=all", f"--ledger={place}/strange.csv")
    assert outcome.status == 2
    assert "the run has no class 'A'" in outcome.errors
    assert not (place / "run" / "metrics-all-strange.json").exists()
    # Nothing was read, so nothing is recorded.
    assert not (place / "strange.csv").exists()


def test_all_of_the_training_data_is_refused(place, evaluate):
    dataset = load_data(read_config(place / "run"), ("train",))
    write_learnt(place / "run", contents_of(dataset.splits["train"]))
    outcome = evaluate("own", "--split=all")
    (place / "run" / "learnt_from.txt").unlink()
    assert outcome.status == 2
    assert "was trained on 16 of the 28 pictures of the data" in outcome.errors
    assert "Give other pictures" in outcome.errors


def test_scores_of_other_data_of_the_same_name_are_kept(place, evaluate):
    ledger = f"--ledger={place}/kept.csv"
    (place / "one").mkdir()
    (place / "two").mkdir()
    for number, site in enumerate(("one", "two")):
        write_pictures(place / site / "cohort", ["2", "10", "2"], seed=3 + number)
    assert evaluate("one/cohort", "--split=all", ledger).status == 0
    scores, read = place / "run" / "metrics-all-cohort.json", (place / "kept.csv").read_text()
    first = scores.read_text()
    outcome = evaluate("two/cohort", "--split=all", ledger)
    assert outcome.status == 2
    assert f"{scores} has the scores of csv:{place}/one/cohort/labels.csv, which has the same name" in outcome.errors
    # The pictures were not read.
    assert (scores.read_text(), (place / "kept.csv").read_text()) == (first, read)
    assert evaluate("one/cohort", "--split=all", ledger).status == 0
