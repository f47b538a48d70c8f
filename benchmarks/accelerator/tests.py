"""The tests of functions, routings and layers on the device, with products at JAX's highest precision."""

import os
from pathlib import Path
from typing import Any

import jax
import pytest

from benchmarks.accelerator.recorder import Recorder

ROOT = Path(__file__).parents[2]
WORKERS = 8


class Outcomes:
    """A plugin of pytest that records each test as it ends."""

    def __init__(self, recorder: Recorder):
        self.recorder, self.counts = recorder, {"passed": 0, "failed": 0, "skipped": 0}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        self.counts[report.outcome] += 1
        if report.outcome == "failed":
            lines = str(report.longrepr).strip().splitlines()
            # pytest marks the lines of the error itself.
            errors = [line[1:].strip() for line in lines if line.startswith("E ")]
            self.recorder.row("failures", test=report.nodeid, problem=(errors or lines or [""])[0][:200])
        if sum(self.counts.values()) % 50 == 0:
            self.recorder.row("counts so far", **self.counts)


def measure(recorder: Recorder) -> None:
    platform = jax.default_backend()
    os.environ["JAX_PLATFORMS"] = "cpu" if platform == "cpu" else "cuda,cpu"
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    files = ["tests/functional/test_squash.py"] if recorder.tiny else ["tests/functional", "tests/test_layers.py"]
    # Without the project's own options, which check the types of arguments, and tests that need several devices.
    options = ["-q", "--override-ini=addopts=", "-m", "not slow", "-k", "not shard and not devices"]
    options += ["-p", "no:cacheprovider", "-p", "no:benchmark"]
    workers = ["-p", "xdist", "-n", str(1 if recorder.tiny else WORKERS), "--dist=worksteal"]
    os.chdir(ROOT)
    outcomes = Outcomes(recorder)
    code = pytest.main([*options, *workers, *files], plugins=[outcomes])
    recorder.row("counts", **outcomes.counts, exit_code=int(code), platform=platform)
