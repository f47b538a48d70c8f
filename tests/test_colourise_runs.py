"""Colourisation end to end at the smallest size: figure, restored encoder, user errors."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from jaxcaps.data.colours import bin_counts
from jaxcaps.functional import bin_weights
from jaxcaps.plan.presets import preset
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.evaluators import Probe
from jaxcaps.training.loop import LINEAR_PROBE
from jaxcaps.training.setup import load_data, make_task
from jaxcaps.training.writers import read_rows
from tests.command import run
from tests.test_bad_input import refused, write_pictures

COLOURISE = ("--stage=ssl", "--task=colourise", "--preset=tiny")


@pytest.mark.slow
def test_pre_training_with_l1_gives_an_encoder_for_fine_tuning(capsys, tmp_path, monkeypatch):
    # The first encoder is kept, and its metrics are reported.
    scores = iter([0.9, 0.1, 0.1])
    monkeypatch.setattr(Probe, "__call__", lambda self, parameters: iter([(LINEAR_PROBE, next(scores))]))
    flags = ("--epochs=1", "--evaluate-every=0.5", "--select-by-probe")
    outcome = run(capsys, *COLOURISE, *flags, f"--out={tmp_path}/ssl")
    assert outcome.status == 0, outcome.errors
    rows = read_rows(tmp_path / "ssl" / "metrics.jsonl")
    first = next(row for row in rows if f"validation/{LINEAR_PROBE}" in row)
    kept = json.loads((tmp_path / "ssl" / "metrics.json").read_text())
    assert kept["step"] == first["step"] < rows[-1]["step"]
    assert kept["validation/loss"] == first["validation/loss"]
    assert f"Metrics at micro-step {first['step']}, whose parameters are kept" in outcome.output
    assert "Perceptual loss: a fixed random network" in outcome.output
    assert "33 of 33 training pictures are colourful" in outcome.output
    assert "Perceptual loss" in (tmp_path / "ssl" / "log.txt").read_text()
    config = yaml.safe_load((tmp_path / "ssl" / "config.yaml").read_text())
    assert (config["task"], config["colourise"]["perceptual_weights"]) == ("colourise", None)
    assert (tmp_path / "ssl" / "figures" / "reconstructions.png").is_file()
    row = read_rows(tmp_path / "ssl" / "metrics.jsonl")[-1]
    for name in ("loss", "perceptual", "colour_error", "colour_saturation"):
        assert np.isfinite(row[f"train/{name}"]), name
        assert np.isfinite(row[f"validation/{name}"]), name
    assert f"colour_saturation {row['train/colour_saturation']:.4f}" in outcome.output
    # The checkpoint does not contain the frozen network.
    parameters, _ = read_parameters(tmp_path / "ssl")
    assert {path.split("/")[0] for path in parameters} == {"encoder", "latent_capsules", "decoder"}

    flags = ("--epochs=0.5", "--lr-mult=stem:0.1,decoder:3")
    tuned = run(capsys, "--stage=finetune", f"--restore={tmp_path}/ssl", *flags, f"--out={tmp_path}/finetune")
    assert tuned.status == 0, tuned.errors
    assert "--lr-mult has no effect on decoder: this network has no such layers\n" in tuned.output
    assert "+ encoder/primary/convolution/kernel" in tuned.output


def test_bin_weights_come_from_the_training_pictures_and_are_reproducible():
    config = preset("tiny", "ssl")
    colourise = dataclasses.replace(config.colourise, colour_loss="bins")
    config = dataclasses.replace(config, task="colourise", colourise=colourise)
    dataset = load_data(config, ("train", "validation"))
    task, again = (make_task(config, dataset) for _ in range(2))
    assert task == again
    counts = bin_counts(dataset.splits["train"])
    np.testing.assert_allclose(task.bin_weights, bin_weights(counts))
    assert counts.sum() == len(dataset.splits["train"]) * (config.data.image_size * config.data.oversampling) ** 2
    assert task.perceptual is None
    assert task.notes(16)[0].startswith("Colours: 262 bins, with weights from 0.")


def test_grey_pictures_are_rejected_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = write_pictures(tmp_path / "data")
    for path in (tmp_path / "data").glob("*.png"):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), grey if int(path.stem) % 2 else cv2.merge([grey] * 3))
    outcome = run(capsys, *COLOURISE, f"--data=csv:{labels}")
    refused(outcome, "--task=colourise", "is grey", "0 of 18 training pictures", "--task=inpaint")
    assert not (tmp_path / "runs").exists()


def test_perceptual_weights_of_another_shape_are_refused_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({"features.0.weight": np.zeros((64, 1, 3, 3), np.float32)}, tmp_path / "vgg.safetensors")
    outcome = run(capsys, *COLOURISE, "--perceptual-weights=vgg.safetensors")
    refused(outcome, "vgg.safetensors", "features.0.weight", "[64, 1, 3, 3]", "[64, 3, 3, 3]")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ("--task=inpaint",),
        ("--stage=finetune", "--task=colourise"),
        ("--task=colourise", "--colour-loss=bins"),
        ("--task=colourise", "--perceptual-strength=0"),
    ],
)
def test_unused_perceptual_weights_are_refused(flags, capsys):
    refused(
        run(capsys, *flags, "--perceptual-weights=vgg.safetensors"), "--perceptual-weights", "this run does not use"
    )
