"""Training and evaluation on a TensorFlow data set, end to end at the smallest size."""

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from jaxcaps.data.tfds.builders import PreparedFolder
from jaxcaps.inference.score import predict
from tests.command import run


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """The data folder of TFDS with a data set `frames` of 48 pictures in three classes and three splits."""
    folder = tmp_path / "frames"
    folder.mkdir()
    lines = ["path,label,group,split"]
    for number in range(48):
        picture = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        split = ("train", "train", "validation", "test")[number // 3 % 4]
        lines.append(f"{number}.png,{'abc'[number % 3]},g{number},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    PreparedFolder(folder, name="frames", data_dir=tmp_path / "sets").download_and_prepare()
    shutil.rmtree(folder)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sets"


@pytest.mark.slow
def test_training_on_a_prepared_set(sets, capsys):
    finetune = ("--stage=finetune", "--data=tfds:frames", "--preset=tiny", "--epochs=1", "--out=finetune")
    outcome = run(capsys, *finetune, "--batch-size=8", "--effective-batch=8")
    assert outcome.status == 0, outcome.errors
    assert "Train: 24 images (a 8, b 8, c 8)." in outcome.output
    # The run stores the name, not the folder, because the data set may move.
    config = yaml.safe_load((sets.parent / "finetune" / "config.yaml").read_text())
    assert config["data"]["data"] == "tfds:frames"
    learnt = (sets.parent / "finetune" / "learnt_from.txt").read_text().splitlines()
    # 24 training pictures, none of which is the same as another.
    assert len(set(learnt)) == 24

    again = run(capsys, *finetune, "--batch-size=8", "--effective-batch=8")
    assert again.status == 0, again.errors
    assert "finished" in again.output
    outcome = run(capsys, "--restore=finetune", "--split=test", command="evaluate")
    assert outcome.status == 0, outcome.errors
    scores = json.loads((sets.parent / "finetune" / "metrics-test.json").read_text())
    predictions = (sets.parent / "finetune" / "predictions-test.csv").read_text().splitlines()
    assert len(predictions) == 1 + 12
    # The pictures keep their names from the table.
    assert {line.split(",")[0] for line in predictions[1:]} == {f"{n}.png" for n in range(48) if n // 3 % 4 == 3}

    # Given by its folder, the data set is the same and has the same scores.
    outcome = run(capsys, "--restore=finetune", "--split=test", "--data=tfds:frames:1.0.0@sets", command="evaluate")
    assert outcome.status == 0, outcome.errors
    again = json.loads((sets.parent / "finetune" / "metrics-test-frames-1.0.0.json").read_text())
    assert again | {"data": "tfds:frames"} == scores

    # Pictures without labels can be predicted, but not scored.
    folder = sets.parent / "new"
    (folder / "test").mkdir(parents=True)
    for number in range(6):
        cv2.imwrite(str(folder / "test" / f"{number}.png"), np.full((16, 16, 3), 40 * number, np.uint8))
    outcome = run(capsys, "--restore=finetune", "--split=test", f"--data=folder:{folder}", command="evaluate")
    assert outcome.status == 2
    assert "the images have no labels, but scoring needs them" in outcome.errors
    predicted = predict(sets.parent / "finetune", "test", data=f"folder:{folder}", labels="optional")
    assert predicted.classes == ("a", "b", "c")
    assert predicted.probabilities.shape == (6, 3)


def test_a_set_that_is_not_prepared_is_refused_before_anything_is_written(sets, capsys):
    outcome = run(capsys, "--data=tfds:frame", "--preset=tiny")
    assert outcome.status == 2
    assert "Traceback" not in outcome.errors
    assert "--data=tfds:frame: it is not prepared" in outcome.errors
    assert "did you mean tfds:frames?" in outcome.errors
    assert not (sets.parent / "runs").exists()
