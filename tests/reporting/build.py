"""A finished run made by hand: its folder, and what the page is made from. No network is trained or run."""

import dataclasses
import json

import numpy as np
from PIL import Image

from jaxcaps.data.dataset import Split
from jaxcaps.evaluation.bootstrap import bootstrap_intervals
from jaxcaps.evaluation.classification import classification_metrics, majority_baseline
from jaxcaps.evaluation.table import write_metrics, write_predictions
from jaxcaps.plan.config import Config, yaml_text
from jaxcaps.plan.presets import preset
from jaxcaps.reporting.inputs import Inputs
from jaxcaps.reporting.observation import Observation
from jaxcaps.reporting.results import read_results

CLASSES = ("benign", "malignant", "normal")
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "${alert(3)} $x$ \"'& and more than a phone can hold",
)
COUNT = 24


def labels():
    return np.arange(COUNT) % 3


def probabilities(seed=0, certainty=0.6):
    values = np.random.default_rng(seed).dirichlet(np.ones(3), COUNT) + certainty * np.eye(3)[labels()]
    return values / values.sum(axis=1, keepdims=True)


def split(names=None, groups=None):
    images = np.random.default_rng(1).integers(0, 256, (COUNT, 16, 16, 3), np.uint8)
    names = names or tuple(f"{n:02}.png" for n in range(COUNT))
    known, rows = labels().astype(np.int32), np.arange(COUNT)
    numbers = rows if groups is None else groups
    return Split(names, known, numbers, groups is not None, images, None, rows, 16, contents=rows)


def classifier(folder, *, classes=CLASSES, names=None, known=None, seed=0):
    """Writes the folder of a fine-tuned run."""
    known = labels() if known is None else known
    config = dataclasses.replace(preset("tiny", "finetune"), stage="finetune", preset="tiny", out=str(folder))
    _begun(folder, config, ["train/loss", "validation/balanced_accuracy", "train/gradient_norm/stem"])
    found = probabilities(seed)
    metrics = classification_metrics(known, found, classes) | {"selected": {"step": 4, "metric": "mcc", "value": 0.5}}
    baseline = majority_baseline(known, known, classes)
    intervals = bootstrap_intervals(known, found, classes, resamples=20)
    write_metrics(folder / "metrics.json", metrics, intervals, baseline)
    write_predictions(folder / "predictions.csv", names or split().names, np.arange(COUNT), known, found, classes)
    return folder


def pretraining(folder, warnings=()):
    """Writes the folder of a pre-training run."""
    _begun(folder, dataclasses.replace(preset("tiny", "ssl"), out=str(folder)), ["train/loss"])
    parts = {"encoder": {"activity": 0.5, "dead": 0.25, "saturated": 0.0, "rank": 0.1}, "projection": {"rank": 0.2}}
    diagnosis = {
        "pictures": 24,
        "gradient_over_weight": {"stem/0": 1e-3, "head": None},
        "coupling_entropy": 0.9,
        "parts": parts,
        "saturation": None,
        "reconstruction": {"term": "inpainting", "error": 0.1, "shuffled": 1.5},
        "warnings": list(warnings),
    }
    (folder / "diagnosis.json").write_text(json.dumps(diagnosis))
    metrics = {"step": 4, "epoch": 2.0, "train/loss": 0.5, "validation/linear_probe/balanced_accuracy": 0.61}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def _begun(folder, config: Config, names):
    folder.mkdir(parents=True)
    (folder / "figures").mkdir()
    Image.new("RGB", (300, 100), "white").save(folder / "figures" / "curves.png")
    (folder / "config.yaml").write_text(yaml_text(config))
    rows = [{"step": 2 * n, "epoch": float(n)} | dict.fromkeys(names, 1 / n) for n in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def observation(made=True):
    generator = np.random.default_rng(2)
    pictures = {"picture": generator.random((2, 16, 16, 3)), "reconstruction": generator.random((2, 16, 16, 3))}
    return Observation(
        np.arange(COUNT),
        generator.integers(0, 256, (COUNT, 48, 48, 3), np.uint8),
        generator.random((COUNT, 8)).astype(np.float32) + labels()[:, None],
        generator.random((COUNT, 12)).astype(np.float32),
        generator.random((COUNT, 3)).astype(np.float32),
        generator.random(COUNT).astype(np.float32),
        pictures if made else {},
    )


def inputs(folder, *, names=None, groups=None, made=True, comparisons=()):
    """What the page of a folder is made from."""
    results = read_results(folder)
    classes = CLASSES if results.predicted is None else results.predicted.classes
    return Inputs(results, observation(made), split(names, groups), classes, [10, 8, 6], 1234, comparisons)
