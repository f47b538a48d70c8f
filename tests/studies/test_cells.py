"""One cell: what it trains, from what it starts, how long it trains, and what it leaves. Training is a stand-in."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxcaps.errors import UserError
from jaxcaps.plan.presets import preset
from jaxcaps.studies import cells
from jaxcaps.studies.cells import run_cell
from jaxcaps.studies.design import Cell
from jaxcaps.studies.execution import folder_of
from jaxcaps.studies.notation import Recipe
from jaxcaps.studies.outcomes import Failure, Predictions, read_outcome, write_failure
from jaxcaps.studies.pretrainings import pretrainings
from tests.studies.build import finish, study_of


@pytest.fixture
def trained(monkeypatch):
    """The configurations that were trained."""
    configs = []

    def train(config):
        configs.append(config)
        out = Path(config.out)
        (out / "checkpoints").mkdir(parents=True)
        values = {"balanced_accuracy": 0.5, "train/loss": 1.0, "validation/inpainting": 0.25}
        (out / "metrics.json").write_text(json.dumps(values), encoding="utf-8")
        diagnosis = {"saturation": 0.5, "parts": {"encoder": {"rank": 3.0}}, "warnings": ["flat", "cold"]}
        (out / "diagnosis.json").write_text(json.dumps(diagnosis), encoding="utf-8")
        (out / "encoder.safetensors").touch()

    def predict(out, split, *, hidden_labels):
        assert (split, hidden_labels) == ("validation", False)
        scored = SimpleNamespace(names=["a", "b"], labels=np.array([0, 1]), groups=np.array([0, 1]))
        meta = {"fingerprint": "data", "train_counts": [20, 12]}
        return SimpleNamespace(split=scored, probabilities=np.eye(2), classes=("no", "yes"), meta=meta)

    monkeypatch.setattr(cells, "train", train)
    monkeypatch.setattr(cells, "predict", predict)
    return configs


def test_a_cell_pretrains_once_and_every_fine_tuning_starts_from_that(tmp_path, trained):
    study = study_of("--label-fractions=0.5,1", "--grid=lr=0.1,0.2", "--epochs=2")
    cell = Cell("inpaint", 1, None)
    folder = folder_of(tmp_path, cell)
    run_cell(study, cell, folder, keep_checkpoints=False)
    assert [config.stage for config in trained] == ["ssl"] + 4 * ["finetune"]
    assert {config.restore for config in trained[1:]} == {trained[0].out} == {str(folder / "ssl")}
    assert {config.seed for config in trained} == {1}
    shares = [(config.data.label_fraction, config.optimizer.lr) for config in trained[1:]]
    assert shares == [(0.5, 0.1), (0.5, 0.2), (1.0, 0.1), (1.0, 0.2)]
    done = read_outcome(folder)
    assert [one.folder for one in done][:2] == ["finetune/0.5/lr=0.1", "finetune/0.5/lr=0.2"]
    # 2 epochs of 32 pictures, 16 at a time.
    assert {(one.updates, one.validation, one.fingerprint) for one in done} == {(4, 0.5, "data")}
    assert list(Predictions.load(folder / done[0].folder).classes) == ["no", "yes"]
    assert not list(folder.glob("**/checkpoints")), "they are most of a study's size"
    assert (folder / "ssl" / "encoder.safetensors").is_file()
    run_cell(study, cell, folder, keep_checkpoints=False)
    assert len(trained) == 5, "a finished cell runs nothing"
    (row,) = pretrainings(study, tmp_path)
    assert row == {
        "initialisation": "inpaint",
        "seed": 1,
        "fold": "",
        "validation/inpainting": 0.25,
        "saturation": 0.5,
        "parts/encoder/rank": 3.0,
        "warnings": "flat; cold",
    }


def test_checkpoints_are_kept_on_request_and_an_arm_without_pretraining_has_none(tmp_path, trained):
    run_cell(study_of(), Cell("random", 0, None), tmp_path, keep_checkpoints=True)
    (config,) = trained
    assert (config.stage, config.restore) == ("finetune", None)
    assert (Path(config.out) / "checkpoints").is_dir()
    (done,) = read_outcome(tmp_path)
    assert done.pretraining_seconds == 0


def test_a_baseline_is_given_the_seconds_of_the_first_arm_that_suits_the_data(tmp_path):
    study = study_of("--seeds=0", "--epochs=10", inits="random,random-seconds,colourise,inpaint")
    cell = Cell("random-seconds", 0, None)
    finish(study_of("--seeds=0"), tmp_path, lambda *_: 0.5, inpaint={"pretraining_seconds": 30.0})
    failed = folder_of(tmp_path, Cell("colourise", 0, None))
    failed.mkdir(parents=True)
    write_failure(failed, Failure(False, "grey"))
    # Half a second for a step, evaluations included: ten seconds for ten epochs, however long the first one took.
    score = {"validation/balanced_accuracy": 0.5}
    rows = [{"step": 4, "seconds": 9.0}, {"step": 8, "seconds": 60.0} | score]
    rows += [{"step": 14, "seconds": 2.0}, {"step": 20, "seconds": 4.0} | score]
    run_folder = folder_of(tmp_path, Cell("inpaint", 0, None)) / "finetune/1/as-given"
    (run_folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    longer = cells._lengthened(study, cell, "1", Recipe(), folder_of(tmp_path, cell))
    assert longer.training.epochs == 10 * (1 + 30 / 10)
    (run_folder / "metrics.jsonl").write_text(json.dumps(rows[1]), encoding="utf-8")
    with pytest.raises(UserError, match="random-seconds needs the time between evaluations"):
        cells._lengthened(study, cell, "1", Recipe(), folder_of(tmp_path, cell))


def test_a_baseline_is_given_the_epochs_of_both_stages():
    study = study_of("--ssl-epochs=7", "--epochs=2", inits="random,inpaint,random-epochs")
    cell = Cell("random-epochs", 0, None)
    assert cells._lengthened(study, cell, "1", Recipe(), Path("cells") / cell.name).training.epochs == 9


def test_a_runs_seconds_are_its_own_and_those_of_all_its_attempts(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(cells.time, "monotonic", lambda: next(clock))
    configs = [
        dataclasses.replace(preset("tiny", "finetune"), out=str(tmp_path / name)) for name in ("lr=0.1", "lr=0.2")
    ]

    def train(config, stop=False):
        if stop:
            raise KeyboardInterrupt
        (tmp_path / config.out).mkdir(exist_ok=True)
        (tmp_path / config.out / "metrics.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(cells, "train", lambda config: train(config, stop=True))
    with pytest.raises(KeyboardInterrupt):
        cells._timed(configs[0])
    monkeypatch.setattr(cells, "train", train)
    assert [cells._timed(config) for config in configs] == [20, 10]
    # Found finished, a run takes what it took.
    assert [cells._timed(config) for config in configs] == [20, 10]
