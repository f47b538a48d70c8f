"""The list of runs: their state and their metric, and folders that cannot be read."""

import dataclasses
import json

import pytest

from jaxcaps.errors import UserError
from jaxcaps.plan.config import yaml_text
from jaxcaps.plan.presets import preset
from jaxcaps.reporting.listing import list_runs
from jaxcaps.training.writers import LINEAR_PROBE
from tests.command import run


def write_run(folder, *, stage="finetune", rows=(), metrics=None, **training):
    config = preset("tiny", stage)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=5, **training))
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml_text(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))


def test_a_finished_run_has_the_metric_of_the_parameters_that_it_kept(tmp_path):
    rows = [{"epoch": 5, "validation/macro_f1": 0.4, "validation/balanced_accuracy": 0.3}]
    write_run(tmp_path / "a", rows=rows, metrics={"macro_f1": 0.6, "balanced_accuracy": 0.5}, best_metric="macro_f1")
    write_run(
        tmp_path / "b" / "c", stage="ssl", rows=rows, metrics={f"validation/{LINEAR_PROBE}": 0.7, "validation/loss": 2}
    )
    first, second = list_runs(tmp_path)
    assert (first.folder, first.state, first.metric, first.value) == (tmp_path / "a", "finished", "macro_f1", 0.6)
    assert (second.folder, second.metric, second.value) == (tmp_path / "b" / "c", LINEAR_PROBE, 0.7)


def test_an_unfinished_run_has_that_of_its_last_evaluation(tmp_path):
    rows = [{"epoch": 1, "validation/balanced_accuracy": 0.8}, {"epoch": 2, "validation/balanced_accuracy": 0.7}]
    write_run(tmp_path / "a", rows=[*rows, {"epoch": 2.5, "train/loss": 1.0}], best_metric="none")
    (listed,) = list_runs(tmp_path)
    assert (listed.state, listed.metric, listed.value) == ("epoch 2.5 of 5", "balanced_accuracy", 0.7)


def test_a_run_before_its_first_evaluation_has_none(tmp_path):
    write_run(tmp_path / "a")
    (listed,) = list_runs(tmp_path)
    assert (listed.state, listed.metric, listed.value) == ("epoch 0 of 5", None, None)


def test_without_labels_a_pre_training_is_judged_by_its_loss(tmp_path):
    write_run(tmp_path / "a", stage="ssl", metrics={"validation/loss": 2.5})
    (listed,) = list_runs(tmp_path)
    assert (listed.metric, listed.value) == ("loss", 2.5)


def test_a_run_that_cannot_be_read_is_listed_with_the_reason(tmp_path, capsys):
    write_run(tmp_path / "a", metrics={"balanced_accuracy": 0.5})
    write_run(tmp_path / "b")
    (tmp_path / "b" / "config.yaml").write_text("stage: [")
    outcome = run(capsys, str(tmp_path), command="runs")
    assert outcome.status == 0
    head, first, second = outcome.output.splitlines()
    assert head.split() == ["run", "stage", "what", "preset", "data", "state", "validation"]
    assert first.split() == [
        str(tmp_path / "a"), "finetune", "capsnet", "tiny", "synthetic", "finished", "balanced_accuracy", "0.500",
    ]  # fmt: skip
    assert "cannot be read: " in second
    assert "is not YAML" in second


def test_folders_without_runs_are_told(tmp_path, capsys):
    outcome = run(capsys, str(tmp_path), command="runs")
    assert (outcome.status, outcome.output) == (0, f"{tmp_path} holds no runs; python -m jaxcaps.train writes some\n")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        list_runs(tmp_path / "nowhere")


def test_links_and_runs_within_runs_are_followed_once(tmp_path):
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    write_run(runs / "a")
    write_run(runs / "a" / "finetune")
    # W&B keeps a configuration of its own.
    write_run(runs / "a" / "wandb" / "files")
    write_run(elsewhere / "b")
    (runs / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(runs)
    assert [each.folder.relative_to(runs).as_posix() for each in list_runs(runs)] == ["a", "a/finetune", "link/b"]
