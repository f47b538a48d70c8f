"""Metrics rows survive interruptions and store values that JSON cannot represent."""

import csv
import json
import math
from types import SimpleNamespace

from jaxcaps.data.dataset import Dataset
from jaxcaps.plan.presets import preset
from jaxcaps.training import finish
from jaxcaps.training.writers import MetricsWriter, read_rows
from tests.reporting import build


def test_a_resumed_run_drops_the_rows_after_its_checkpoint(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (5, 10, 15):
        writer.write({"step": step, "loss": 1 / step})
    resumed = MetricsWriter(tmp_path, resumed_step=10)
    resumed.write({"step": 15, "loss": 9.0})
    assert [row["loss"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1 / 5, 1 / 10, 9.0]


def test_an_incomplete_last_line_is_dropped(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write({"step": 1, "loss": 2.0})
    with writer.jsonl.open("a") as file:
        file.write('{"step": 2, "lo')
    assert read_rows(writer.jsonl) == [{"step": 1, "loss": 2.0}]


def test_nan_is_null_in_json_and_restored(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write({"step": 1, "auc": math.nan})
    assert "null" in writer.jsonl.read_text()
    assert math.isnan(read_rows(writer.jsonl)[0]["auc"])


def test_the_table_has_a_column_for_every_name_of_any_row(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write({"step": 1, "loss": 2.0})
    writer.write({"step": 2, "loss": 1.0, "validation/accuracy": 0.5})
    writer.write_csv()
    with writer.csv.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["step", "loss", "validation/accuracy"],
            ["1", "2.0", ""],
            ["2", "1.0", "0.5"],
        ]


def test_results_of_a_pre_training_that_are_not_finite_are_null(tmp_path, monkeypatch):
    """All that computes is left out."""
    for name in ("write_tensors", "draw_curves", "with_parameters", "diagnose", "write_diagnosis", "contents_of"):
        monkeypatch.setattr(finish, name, lambda *_: None)
    MetricsWriter(tmp_path).write({"step": 4, "epoch": 1.0, "validation/loss": math.nan})
    dataset = Dataset((), {"train": build.split(), "validation": build.split()}, (), (), "")
    task = SimpleNamespace(pictures=lambda *_: {})
    finish.finish_pretraining(tmp_path, preset("tiny", "ssl"), task, None, {}, dataset, 4)
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text) == {"step": 4, "epoch": 1.0, "validation/loss": None}
