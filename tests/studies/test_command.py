"""`python -m jaxcaps.study` from the command line."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.metrics import balanced_accuracy_score

from jaxcaps.studies import execution
from jaxcaps.studies.outcomes import Predictions, read_outcome
from jaxcaps.studies.results import gather
from jaxcaps.studies.run import run_one
from jaxcaps.studies.study_file import read_study
from jaxcaps.training.folder import read_config
from jaxcaps.training.setup import load_data
from tests.command import run
from tests.compilation import flags as xla_flags
from tests.studies.build import write_npz


class InThisProcess:
    """Stands for `subprocess.Popen`: runs the cell at once, without a new interpreter."""

    def __init__(self, command, **settings):
        flags = dict(part.removeprefix("--").split("=") for part in command if "=" in part)
        self.returncode = 0 if run_one(Path(flags["out"]), int(flags["cell"]), keep_checkpoints=False) else 1

    def poll(self):
        return self.returncode


def test_a_small_study(tmp_path, capsys, monkeypatch):
    """Both kinds of classifier, scores and a table, and nothing done twice."""
    monkeypatch.setattr(execution.subprocess, "Popen", InThisProcess)
    monkeypatch.setattr(execution, "POLL", 0)
    # A step for one device compiles faster than one for eight.
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    # Other tests draw the figures of a run.
    monkeypatch.setattr("jaxcaps.training.finish.plot_curves", lambda *_: None)
    monkeypatch.setattr("jaxcaps.training.finish.plot_confusion", lambda *_: None)
    flags = ["--preset=tiny", f"--data={write_npz(tmp_path / 'set.npz', 24, 16)}", "--label-fractions=0.5"]
    flags += ["--extra-convs=3", "--routing-iterations=1"]
    flags += ["--inits=random,extra-trees", "--seeds=3", "--epochs=1", "--finetune=--batch-size=8 --effective-batch=8"]
    out = tmp_path / "study"
    outcome = run(capsys, *flags, f"--out={out}", command="study")
    assert outcome.status == 0, outcome.output + outcome.errors
    assert "| extra-trees |" in outcome.output
    results = {one.cell.arm: one for one in gather(read_study(out), out)}
    assert len(results["extra-trees"].predictions.labels) == len(results["random"].predictions.labels) == 16
    assert results["random"].run.architecture != "" == results["extra-trees"].run.architecture
    assert not list(out.glob("**/checkpoints"))
    assert (out / "figures" / "convergence.png").is_file()
    check_choice(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/**/*.json")}
    monkeypatch.setattr(execution.subprocess, "Popen", lambda *_, **__: pytest.fail("a finished cell was started"))
    again = run(capsys, *flags, f"--out={out}", command="study")
    assert "2 cells, 2 of them finished" in again.output
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("cells/**/*.json")}


@pytest.mark.slow
def test_a_whole_study_in_processes_of_its_own(tmp_path, capsys, monkeypatch):
    # For the cells' processes: one device compiles faster than eight.
    monkeypatch.setenv("XLA_FLAGS", xla_flags(devices=1))
    flags = ("--preset=tiny", "--inits=random,inpaint,extra-trees", "--seeds=3", "--ssl-epochs=1", "--epochs=1")
    out = tmp_path / "study"
    outcome = run(capsys, *flags, "--jobs=2", f"--out={out}", command="study")
    assert outcome.status == 0, outcome.output + outcome.errors
    results = {one.cell.arm: one for one in gather(read_study(out), out)}
    assert results["inpaint"].run.pretraining_seconds > 0 == results["random"].run.pretraining_seconds
    assert results["inpaint"].run.architecture == results["random"].run.architecture != ""
    assert len(results["extra-trees"].predictions.labels) == 15
    assert not list(out.glob("**/checkpoints"))
    assert (out / "cells/inpaint/seed-3/ssl/encoder.safetensors").is_file()
    with (out / "pretraining.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    diagnosis = json.loads((out / "cells/inpaint/seed-3/ssl/diagnosis.json").read_text())
    assert (row["initialisation"], row["seed"]) == ("inpaint", "3")
    assert float(row["reconstruction/shuffled"]) == diagnosis["reconstruction"]["shuffled"]
    assert float(row["gradient_over_weight/primary"]) == diagnosis["gradient_over_weight"]["primary"]
    assert "| pre-training | runs | linear probe |" in (out / "table.md").read_text()


def check_choice(out):
    """A recipe is chosen without the labels that a share hides, though all pictures are scored."""
    folder = out / "cells/random/seed-3"
    (done,) = read_outcome(folder)
    validation = load_data(read_config(folder / done.folder), ("validation",)).splits["validation"]
    shown = np.array(validation.names)[validation.labels >= 0]
    found = Predictions.load(folder / done.folder)
    seen = np.isin(found.names, shown)
    assert 0 < seen.sum() < len(seen)
    predicted = found.probabilities[seen].argmax(axis=1)
    assert done.validation == pytest.approx(balanced_accuracy_score(found.labels[seen], predicted))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--plan=papre"], "--plan=papre: unknown plan; did you mean 'paper'"),
        (["--inits=inpaind"], "did you mean 'inpaint'"),
        (["--preset=tinny"], "--preset=tinny: unknown preset; did you mean 'tiny'"),
        (["--preset"], "--preset=: unknown preset; known: demo"),
        (["--image-sise=32"], "--image-sise: unknown flag; did you mean"),
        (["--final=nowhere", "--seeds=7"], "nowhere does not hold a study"),
        (["--final=nowhere", "--seeds=7", "--epochs=3"], "--epochs and --final=nowhere: a final study repeats the one"),
        (["--final=nowhere", "--seeds=7", "--routing=em"], "--routing and --final=nowhere"),
        (["--final=nowhere"], "--final needs --seeds that the selection did not use"),
        (["--jobs=0"], "--jobs=0: expected at least 1"),
        (["--inits=random,extra-trees@lr=3"], "extra-trees is not a network"),
        (
            ["--preset=tiny", "--inits=colourise+perceptual-weights=small.safetensors"],
            "features.0.weight",
        ),
    ],
)
def test_bad_studies_are_refused_before_anything_runs(flags, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({"features.0.weight": np.zeros((2, 3, 3, 3), np.float32)}, "small.safetensors")
    outcome = run(capsys, *flags, command="study")
    assert outcome.status == 2
    assert message in outcome.errors
    assert not (tmp_path / "runs").exists()


def test_the_flags_of_data_and_network_are_in_the_help(capsys):
    outcome = run(capsys, "--help", command="study")
    assert outcome.status == 0
    for flag in ("--inits", "--image-size", "--capsule-dim", "--routing", "--folds"):
        assert flag in outcome.output
