"""Runs parts in processes of their own, within a time for all of them."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from benchmarks.accelerator import Part

# A part is told of this much less than its limit, to end by itself.
MARGIN = 4.0


@dataclass
class Outcome:
    """How a part ended: "complete", "failed (exit code)", "out of time" or "not begun"; and how long it took."""

    status: str = "not begun"
    seconds: float = 0.0
    limit: float = 0.0


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    began: float
    outcome: Outcome

    def wait(self) -> None:
        left = self.began + self.outcome.limit - time.monotonic()
        try:
            code = self.process.wait(max(0.0, left))
            self.outcome.status = "complete" if code == 0 else f"failed (exit code {code})"
        except subprocess.TimeoutExpired:
            self.outcome.status = "out of time"
        # Its own children too, such as the workers of the tests.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.outcome.seconds = time.monotonic() - self.began


def run(
    parts: Mapping[str, Part], *, rows: Path, log: Path, scale: str, seconds: float, module: str
) -> dict[str, Outcome]:
    """Runs the parts in order, those beside each other that are not timed at the same time.

    Args:
        parts: by name.
        rows: the file for the rows that they measure.
        log: the file for what they print.
        scale: see `Recorder`.
        seconds: for all of them.
        module: what runs one part, `benchmarks.accelerator.part`.
    """
    stop = time.monotonic() + seconds
    outcomes = {name: Outcome() for name in parts}
    # Every timed part is a round of its own.
    rounds = [list(names) for _, names in groupby(parts, key=lambda name: name if parts[name].timed else "not timed")]
    lengths = [max(parts[name].seconds for name in names) for names in rounds]
    # Programs compiled by one part are at hand for the next.
    with tempfile.TemporaryDirectory() as cache, log.open("ab") as output:
        for number, names in enumerate(rounds):
            left = stop - time.monotonic()
            if left < 2 * MARGIN:
                break
            limit = left * lengths[number] / sum(lengths[number:])
            running = []
            for name in names:
                outcomes[name].limit = limit
                running.append(_start(name, outcomes[name], rows, scale, output, cache, module))
            for each in running:
                each.wait()
            for name in names:
                print(f"{name}: {outcomes[name].status}, {outcomes[name].seconds:.0f} s", flush=True)
    return outcomes


def _start(name: str, outcome: Outcome, rows: Path, scale: str, output: IO[bytes], cache: str, module: str) -> _Running:
    output.write(f"\n===== {name}\n".encode())
    output.flush()
    seconds = max(1.0, outcome.limit - MARGIN)
    command = [sys.executable, "-m", module, name, f"--rows={rows}", f"--scale={scale}", f"--seconds={seconds}"]
    environment = {
        # PyTorch and other processes need memory too.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        # Writing the source location of each operation into a program takes a seventh of the time to trace it.
        "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
        "PYTHONUNBUFFERED": "1",
        **os.environ,
    }
    process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    return _Running(process, time.monotonic(), outcome)
