"""An exported program equals the model in Python, runs without jaxcaps, and comes with its card and checksums."""

import hashlib
import json
import os
import re
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest

import jaxcaps
from jaxcaps.data.decoding import to_square
from jaxcaps.exporting import onnx, stablehlo
from jaxcaps.exporting.card import READING
from tests.command import run
from tests.exporting.build import write_classifier

FILES = {"README.md", "SHA256SUMS", "model.jaxexport", "model.json"}


@pytest.fixture
def export(place, capsys):
    def command(*more, restore=place / "run", out=place / "stablehlo"):
        return run(capsys, f"--restore={restore}", f"--out={out}", *more, command="export")

    return command


@pytest.fixture
def exported(place, export):
    if not (place / "stablehlo").exists():
        outcome = export()
        assert outcome.status == 0, outcome.errors
    return place / "stablehlo"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(20, 70), (16, 16), (9, 40), (60, 50)])
def test_the_scripts_of_cards_read_pictures_as_training_does(channels, shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    cv2.imwrite("picture.png", picture[..., ::-1])
    names = {"cv2": cv2, "given": {"side": 32, "channels": channels}}
    exec(READING, names)
    np.testing.assert_array_equal(names["picture"], to_square(picture, 32, channels))
    for form in (onnx.FORMAT, stablehlo.FORMAT):
        assert READING in form.usage


def test_the_program_equals_the_model_for_any_number_of_pictures(place, exported):
    model = jaxcaps.load(place / "run")
    about = json.loads((exported / "model.json").read_text())
    program = jax.export.deserialize((exported / "model.jaxexport").read_bytes())
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert about["input"]["shape"] == ["batch", 32, 32, 3]
    for count in (1, 5):
        pictures = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8)
        answer = jax.device_get(program.call(pictures))
        np.testing.assert_allclose(answer["probabilities"], model.predict_proba(pictures), rtol=1e-5)
        np.testing.assert_allclose(answer["unfamiliarity"], model.unfamiliarity(pictures), rtol=1e-5)
        assert [about["classes"][best] for best in answer["probabilities"].argmax(1)] == list(model.predict(pictures))
        # The temperature does not change them.
        logits = np.log(answer["probabilities"]) * about["temperature"]
        differences = np.diff(answer["activations"] * model.norm_scale, axis=1)
        np.testing.assert_allclose(differences, np.diff(logits, axis=1), rtol=1e-3, atol=1e-4)


def test_the_script_of_the_card_runs_without_jaxcaps(place, exported):
    (script,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    # One side grows, and the other shrinks.
    picture = np.random.default_rng(0).integers(0, 256, (20, 70, 3), np.uint8)
    cv2.imwrite(str(exported / "picture.png"), picture)
    command = "import sys\nsys.modules['jaxcaps'] = None\n" + script
    process = subprocess.run(
        [sys.executable, "-c", command], cwd=exported, env=os.environ, capture_output=True, text=True, check=False
    )
    (exported / "picture.png").unlink()
    assert process.returncode == 0, process.stderr
    model = jaxcaps.load(place / "run")
    (expected,) = model.unfamiliarity(picture[None, ..., ::-1])
    name, score = process.stdout.split()
    assert name in model.classes_
    assert float(score) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_script_of_a_grey_model_runs(tmp_path, export):
    outcome = export(restore=write_classifier(tmp_path, "--channels=1"), out=tmp_path / "x")
    assert outcome.status == 0, outcome.errors
    about = json.loads((tmp_path / "x" / "model.json").read_text())
    assert about["input"]["channels"] == 1
    assert about["input"]["resize"].startswith("after colour has become grey")
    (script,) = re.findall(r"```python\n(.*?)```", (tmp_path / "x" / "README.md").read_text(), re.DOTALL)
    picture = np.random.default_rng(0).integers(0, 256, (20, 70, 1), np.uint8)
    cv2.imwrite(str(tmp_path / "x" / "picture.png"), picture)
    process = subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "x", capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    (expected,) = jaxcaps.load(tmp_path / "run").unfamiliarity(picture)
    assert float(process.stdout.split()[1]) == pytest.approx(expected, rel=1e-5)


def test_the_card_has_the_scores_of_the_run_and_the_checksums_fit(place, exported):
    assert {file.name for file in exported.iterdir()} == FILES
    for line in (exported / "SHA256SUMS").read_text().splitlines():
        found, name = line.split("  ")
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == found
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    card = (exported / "README.md").read_text()
    assert f"| balanced_accuracy | {metrics['balanced_accuracy']:.3f} | [" in card
    assert "not a medical device" in card
    assert str(place) not in card + (exported / "model.json").read_text()


def test_what_exists_is_not_overwritten(exported, export):
    outcome = export()
    assert outcome.status == 2
    assert f"--out={exported} exists; nothing was changed" in outcome.errors


def test_what_cannot_be_exported_leaves_nothing_behind(place, export, tmp_path, monkeypatch):
    for more, words in (
        (["--to=stablehlo2"], "--to=stablehlo2: unknown format; did you mean 'stablehlo'"),
        (["--two=stablehlo"], "did you mean '--to'"),
    ):
        outcome = export(*more, out=tmp_path / "x")
        assert outcome.status == 2
        assert words in outcome.errors
    encoder = export(restore="pretrained:busi-demo", out=tmp_path / "x")
    assert "an encoder has no classes" in encoder.errors
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert "pip install 'jaxcaps[export]'" in export(out=tmp_path / "x").errors
    assert not list(tmp_path.iterdir())
