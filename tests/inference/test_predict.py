"""Predictions of a run that learnt from prepared pictures: by the command and in Python, on raw and prepared ones."""

import csv
import json
import os
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import jaxcaps
from data_prep.config import Preparation
from data_prep.pipeline.prepare import prepare
from data_prep.presets import PRESETS
from jaxcaps.errors import UserError
from jaxcaps.evaluation.calibration import calibrated
from jaxcaps.inference.rows import Rows
from jaxcaps.plan.flags import parse_config
from jaxcaps.training.calibration import read_calibration
from tests.command import run
from tests.inference.build import write_run

# The raw pictures are not squares; the prepared ones are, between bars.
SIDES = (20, 36)


def table(file):
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def numbers(rows):
    return np.array([[float(row[f"probability_{name}"]) for name in "ab"] for row in rows])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Raw pictures of two classes, `raw`; the same prepared, `out`; and a run of the prepared ones, `run`."""
    folder = tmp_path_factory.mktemp("predict")
    rng = np.random.default_rng(0)
    for number in range(40):
        path = folder / "raw" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        coarse[..., number % 2] //= 3
        cv2.imwrite(str(path), cv2.resize(coarse, SIDES, interpolation=cv2.INTER_CUBIC))
    steps = replace(PRESETS["plain"], size=32, clahe=True)
    prepare(Preparation(f"folder:{folder}/raw", str(folder / "out"), "plain", workers=1, steps=steps), lambda _: None)
    config = parse_config(
        ["--stage=finetune", "--preset=tiny", "--batch-size=8", "--effective-batch=8", "--reconstruction-weight=0.1",
         f"--data=csv:{folder}/out/labels.csv", f"--out={folder}/run"]
    )  # fmt: skip
    write_run(config, folder / "run")
    return folder


@pytest.fixture(scope="module")
def model(place):
    return jaxcaps.load(place / "run")


@pytest.fixture
def predict(place, tmp_path, capsys):
    def command(images, *more, out=tmp_path / "table.csv"):
        return run(capsys, f"--restore={place}/run", f"--images={images}", f"--out={out}", *more, command="predict")

    return command


def test_raw_and_prepared_pictures_get_the_predictions_of_the_run(place, predict, tmp_path, model):
    outcome = predict(place / "raw")
    assert outcome.status == 0, outcome.errors
    assert "prepared as those that the model learnt from" in outcome.output
    assert "Wrote the predictions of 40 pictures to" in outcome.output
    raw = table(tmp_path / "table.csv")
    assert list(raw[0]) == ["name", "predicted", "probability_a", "probability_b", "activation", "ood_score", "ood"]
    assert predict(place / "out", out=tmp_path / "prepared.csv").status == 0
    prepared = table(tmp_path / "prepared.csv")
    assert [row["name"] for row in prepared] == [f"images/{row['name']}" for row in raw]
    assert [list(row.values())[1:] for row in prepared] == [list(row.values())[1:] for row in raw]
    # The run's own predictions have no temperature.
    own = {row["name"]: row for row in table(place / "run" / "predictions.csv")}
    mine = [row for row in prepared if row["name"] in own]
    theirs = [own[row["name"]] for row in mine]
    assert len(mine) == len(own) > 0
    assert [row["predicted"] for row in mine] == [row["predicted"] for row in theirs]
    expected = calibrated(np.log(numbers(theirs)), model.calibration.temperature)
    np.testing.assert_allclose(numbers(mine), expected, atol=2e-6)
    flagged = [float(row["ood_score"]) > 1 for row in mine]
    assert flagged == [row["ood"] == "True" for row in mine]
    assert sum(flagged) <= 0.05 * len(mine)


def test_a_model_in_python_predicts_what_the_command_predicts(place, model, predict, tmp_path):
    assert predict(place / "raw" / "a", out=tmp_path / "one.csv").status == 0
    rows = table(tmp_path / "one.csv")
    paths = [place / "raw" / "a" / row["name"] for row in rows]
    pictures = np.stack([cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths])
    assert (list(model.classes_), model.image_size, model.channels) == (["a", "b"], 16, 3)
    for given in (str(place / "raw" / "a"), paths, pictures, pictures / 255.0):
        np.testing.assert_allclose(model.predict_proba(given), numbers(rows), atol=1e-6)
    assert list(model.predict(paths)) == [row["predicted"] for row in rows]
    np.testing.assert_allclose(model.unfamiliarity(paths), [float(row["ood_score"]) for row in rows], atol=1e-4)
    assert model.predict(pictures[0]).shape == model.predict(paths[0]).shape == (1,)
    assert model.preprocess(pictures).shape == (len(rows), 16, 16, 3)
    # These arrays are said to be prepared, and are not.
    other = jaxcaps.load(place / "run", prepare=False).predict_proba(pictures)
    assert np.abs(other - numbers(rows)).max() > 1e-4


def test_features_are_the_capsules_of_the_preprocessed_pictures(place, model):
    paths = sorted((place / "raw" / "b").glob("*.png"))
    poses = np.asarray(model.encoder(model.preprocess(paths)).poses)
    np.testing.assert_allclose(model.transform(paths), poses.reshape(len(paths), -1), atol=1e-5)
    primary = model.encoder.primary
    pooled = jaxcaps.load(place / "run", features="pooled").transform(paths)
    expected = poses.reshape(len(paths), -1, primary.types * primary.dim).mean(axis=1)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_a_model_is_a_step_of_a_scikit_learn_pipeline(place, model):
    paths = sorted((place / "raw").rglob("*.png"))
    labels = [path.parent.name for path in paths]
    pipeline = make_pipeline(model, LogisticRegression()).fit(paths, labels)
    assert pipeline.score(paths, labels) > 0.5
    assert model.score(paths, labels) == np.mean(model.predict(paths) == labels)
    np.testing.assert_array_equal(clone(model).predict(paths[:3]), model.predict(paths[:3]))


def test_a_changed_parameter_takes_effect(place):
    path = str(next((place / "raw" / "a").iterdir()))
    model = jaxcaps.load(place / "run")
    pipeline = make_pipeline(model, LogisticRegression())
    capsules = model.transform(path)
    pipeline.set_params(trainedclassifier__features="pooled")
    np.testing.assert_array_equal(model.transform(path), jaxcaps.load(place / "run", features="pooled").transform(path))
    with pytest.raises(ValueError, match="Invalid parameter 'feature'"):
        model.set_params(feature="capsules")
    with pytest.raises(UserError, match="give 'capsules' or 'pooled'"):
        model.set_params(features="flat")
    assert model.get_params()["features"] == "pooled"
    np.testing.assert_array_equal(model.set_params(features="capsules").transform(path), capsules)


def test_an_interrupted_command_goes_on(place, predict, tmp_path, monkeypatch):
    assert predict(place / "raw", out=tmp_path / "whole.csv").status == 0
    add, batches = Rows.add, []

    def stop_after_two(rows, found):
        add(rows, found)
        batches.append(len(found))
        if len(batches) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "add", stop_after_two)
        assert predict(place / "raw").status == 130
    assert not (tmp_path / "table.csv").exists()
    other = predict(place / "out")
    assert other.status == 2
    assert "holds the beginning of other predictions" in other.errors
    outcome = predict(place / "raw")
    assert "Going on after the 16 pictures that are done" in outcome.output
    assert (tmp_path / "table.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert "exists and was not changed" in predict(place / "raw").errors


def test_unreadable_pictures_are_listed(place, predict, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(place / "raw" / "a", mixed)
    (mixed / "03 bad.png").write_text("hello")
    # A name that is not UTF-8.
    (mixed / "04.png").rename(mixed / os.fsdecode(b"\xe9.png"))
    outcome = predict(mixed)
    assert outcome.status == 0, outcome.errors
    assert "1 pictures could not be used, see" in outcome.output
    assert table(tmp_path / "table.unreadable.csv") == [
        {"name": "03 bad.png", "reason": "it is not an image, or it is damaged"}
    ]
    assert [row["name"] for row in table(tmp_path / "table.csv")][-1] == "\\xe9.png"
    assert len(table(tmp_path / "table.csv")) == 20
    with pytest.raises(UserError, match=r"03 bad\.png: it is not an image, or it is damaged; leave it out"):
        jaxcaps.load(place / "run").predict(str(mixed))


def test_what_cannot_be_predicted_is_refused_with_words(place, predict, tmp_path, capsys):
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.mkdir()
    text.mkdir()
    (text / "a.png").write_text("hello")
    for outcome, message in (
        (predict(empty), "no image file in this folder"),
        (predict(text), "none of its 1 pictures can be used; the first is a.png: it is not an image"),
        (predict(place / "raw", out=place / "raw" / "a" / "00.png" / "x.csv"), "cannot be written"),
        (predict(place / "raw", "--batch-size=0"), "--batch-size=0"),
        (predict(place / "raw", "--batchsize=8"), "unknown flag"),
        (run(capsys, "--restore=nowhere", "--images=x", "--out=y.csv", command="predict"), "nowhere: no such folder"),
        (
            run(capsys, "--restore=pretrained:busi-demo", "--images=x", "--out=y.csv", command="predict"),
            "an encoder has no classes",
        ),
    ):
        assert outcome.status == 2
        assert message in outcome.errors
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    # Pictures prepared otherwise.
    steps = replace(PRESETS["plain"], size=24)
    prepare(Preparation(f"folder:{place}/raw", str(tmp_path / "out"), "plain", workers=1, steps=steps), lambda _: None)
    assert "with other steps or another reference histogram" in predict(tmp_path / "out").errors


def test_runs_that_cannot_predict_say_why(place, model, tmp_path):
    unfinished = tmp_path / "run"
    shutil.copytree(place / "run", unfinished)
    (unfinished / "calibration.json").write_text("{")
    with pytest.raises(UserError, match=r"calibration\.json or familiar\.npz is damaged"):
        jaxcaps.load(unfinished)
    (unfinished / "calibration.json").unlink()
    with pytest.raises(UserError, match=r"the run has not finished\. Repeat its command"):
        jaxcaps.load(unfinished)
    with pytest.raises(UserError, match="give 'capsules' or 'pooled'"):
        jaxcaps.load(place / "run", features="flat")
    with pytest.raises(UserError, match="there is no picture"):
        model.predict([])
    with pytest.raises(UserError, match="give an array of pictures, a path, or a list of paths"):
        model.predict([1, 2])


def test_an_encoder_has_features_and_no_classes():
    encoder = jaxcaps.load("pretrained:busi-demo", features="pooled", batch_size=8)
    picture = np.zeros((60, 90, 3), np.uint8)
    assert encoder.transform(picture).shape == (1, encoder.encoder.primary.types * encoder.encoder.primary.dim)
    assert not hasattr(encoder, "predict")
    with pytest.raises(AttributeError, match="is an encoder, which has no classes; fine-tune it"):
        encoder.predict(picture)


def test_a_model_of_grey_pictures_refuses_colour(place, model, monkeypatch):
    # Whether training pictures had colour is in the calibration.
    assert model.calibration.colour
    monkeypatch.setattr(model, "calibration", replace(read_calibration(place / "run"), colour=False))
    with pytest.raises(UserError, match="it is in colour, but the model learnt from grey pictures"):
        model.predict(str(place / "raw" / "a"))
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (2, 20, 20, 1), np.uint8), 3, axis=-1)
    assert len(model.predict(grey)) == 2


def test_the_calibration_of_a_run_says_what_it_was_fitted_on(place):
    plain = json.loads((place / "run" / "calibration.json").read_text())
    labelled = sum(row["label"] != "" for row in table(place / "run" / "predictions.csv"))
    assert plain["fitted_on"] == labelled
    assert plain["after"]["log_loss"] <= plain["before"]["log_loss"]
    assert plain["error_unit"] > 0
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    assert metrics["log_loss"] == pytest.approx(plain["before"]["log_loss"], rel=1e-5)
    assert metrics["ece"] == pytest.approx(plain["before"]["ece"], abs=1e-5)
