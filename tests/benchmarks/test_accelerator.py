"""The benchmark of an accelerator: what one part does to the others, its tables, and its programs for a GPU."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.accelerator import PARTS, Part, runner
from benchmarks.accelerator.agreement import compiled, deviation
from benchmarks.accelerator.cases import cases
from benchmarks.accelerator.profile import instructions, kind_of
from benchmarks.accelerator.recorder import Recorder, read_rows
from benchmarks.accelerator.report import markdown
from benchmarks.accelerator.steps import cells

ROOT = Path(__file__).parents[2]

# Each part records a row, and then does what its name says.
FAKE = """
import subprocess, sys, time
from pathlib import Path
from benchmarks.accelerator.recorder import Recorder
name, rows = sys.argv[1], Path(sys.argv[2].removeprefix("--rows="))
recorder = Recorder(rows, name, scale="tiny", seconds=1)
recorder.row("begun", here=True)
if name == "failing":
    raise SystemExit(3)
if name == "endless":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    recorder.row("children", pid=child.pid)
    time.sleep(60)
with recorder.attempt("errors", case=name):
    raise ValueError("no such thing")
recorder.row("ended", here=True)
"""


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    (tmp_path / "fake_part.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setattr(runner, "MARGIN", 0.1)
    parts = {name: Part(1.0) for name in ("failing", "endless", "good")}
    rows, log = tmp_path / "rows.jsonl", tmp_path / "log.txt"
    found = runner.run(parts, rows=rows, log=log, scale="tiny", seconds=6, module="fake_part")
    return found, read_rows(rows)


def test_a_part_that_fails_and_one_that_does_not_end_leave_the_rows_of_all(outcome):
    found, rows = outcome
    assert [found[name].status for name in ("failing", "endless", "good")] == [
        "failed (exit code 3)",
        "out of time",
        "complete",
    ]
    assert found["endless"].seconds < 5
    assert all(rows[name]["begun"] == [{"here": True}] for name in found)
    assert rows["good"]["errors"] == [{"case": "good", "error": "ValueError: no such thing"}]
    assert rows["good"]["ended"] == [{"here": True}]
    # Nor do its own processes go on.
    time.sleep(0.1)
    stat = Path(f"/proc/{rows['endless']['children'][0]['pid']}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_no_part_begins_without_time(tmp_path):
    found = runner.run(
        {"late": Part(1.0)}, rows=tmp_path / "r", log=tmp_path / "l", scale="tiny", seconds=0, module="absent"
    )
    assert found["late"].status == "not begun"


def test_the_limits_add_up_to_eight_minutes():
    """Parts that are not timed run side by side."""
    untimed = max(part.seconds for part in PARTS.values() if not part.timed)
    assert sum(part.seconds for part in PARTS.values() if part.timed) + untimed == 480
    assert all((ROOT / f"benchmarks/accelerator/{name}.py").exists() for name in PARTS)


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    file = tmp_path / "rows.jsonl"
    Recorder(file, "machine", scale="tiny", seconds=1).row("ceilings", rate=1.0)
    with file.open("a") as output:
        output.write('{"part": "machi')
    assert read_rows(file) == {"machine": {"ceilings": [{"rate": 1.0}]}}


def test_markdown_has_the_columns_of_all_rows_and_says_what_is_missing():
    tables = {"rates": [{"what": "a|b", "rate": 1.23456}, {"what": "c", "error": "too large"}]}
    parts = {
        "machine": {"status": "complete", "seconds": 3.0, "limit": 9.0, "tables": tables},
        "steps": {"status": "out of time", "seconds": 9.0, "limit": 9.0, "tables": {}},
    }
    text = markdown({"date": "2026-11-27", "scale": "full", "parts": parts})
    assert "| what | rate | error |\n|---|---|---|\n| a\\|b | 1.235 |  |\n| c |  | too large |" in text
    assert "Incomplete parts: steps (out of time)." in text
    assert "Tables with errors: machine: rates." in text


def test_deviation_is_relative_to_the_reference():
    assert deviation([np.array([3.0, 4.0])], [np.array([3.0, 5.0])]) == pytest.approx(1 / 34**0.5)
    assert deviation([np.array([np.nan])], [np.array([1.0])]) == np.inf
    assert deviation([np.zeros(2)], [np.zeros(2)]) == 0


def test_every_step_is_measured_in_both_dtypes_and_with_a_larger_batch():
    every = list(cells(tiny=False))
    assert len(set(every)) == len(every)
    for preset in ("demo", "small64", "paper224"):
        for stage in ("ssl", "finetune"):
            found = {(cell.dtype, cell.batch) for cell in every if (cell.preset, cell.stage) == (preset, stage)}
            assert {dtype for dtype, _ in found} == {"bfloat16", "float32"}
            assert len(found) == 5


def test_origins_of_instructions():
    text = '  %loop_fusion.3 = bf16[2,3]{1,0} fusion(%a), kind=kLoop, metadata={op_name="jit(step)/mul"}\n'
    assert instructions(text)["loop_fusion_3"] == ("bf16[2,3]{1,0}", "jit(step)/mul")
    assert kind_of("sm90_xmma_fprop_implicit_gemm") == "convolution or product"
    assert kind_of("loop_add_fusion") == "elementwise and other"


@pytest.mark.slow
def test_what_has_to_agree_is_a_program_for_a_gpu_without_float64_or_calls():
    for case in cases():
        text = jax.export.export(compiled(case), platforms=["cuda"])(case.arguments).mlir_module()
        assert not re.search(r"xf64|<f64>", text), case.name
        assert set(re.findall(r"custom_call @(\w+)", text)) <= {"Sharding"}, case.name


@pytest.mark.slow
def test_the_command_measures_on_this_machine(tmp_path):
    command = [sys.executable, "-m", "benchmarks.accelerator", f"--out={tmp_path}", "--scale=tiny"]
    subprocess.run([*command, "--parts=machine,capsules,tests"], check=True, cwd=ROOT)
    found = json.loads((tmp_path / "accelerator.json").read_text())["parts"]
    assert {name: part["status"] for name, part in found.items()} == dict.fromkeys(found, "complete")
    assert len(found["machine"]["tables"]["ceilings"]) == 4
    assert found["tests"]["tables"]["counts"][0]["failed"] == 0
    assert (tmp_path / "accelerator.md").read_text().startswith("# Accelerator benchmark")
