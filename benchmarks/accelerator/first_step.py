"""Runs of `python -m jaxcaps.train`: seconds to the first step with an empty compilation cache, and a filled one."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.accelerator.recorder import Recorder


def measure(recorder: Recorder) -> None:
    preset = "tiny" if recorder.tiny else "demo"
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "filled"):
            if recorder.left() < 10:
                recorder.row("not measured", cache=cache)
                continue
            with recorder.attempt("runs", preset=preset, cache=cache):
                # The first run may take most of the time: it fills the cache.
                limit = recorder.left() * (0.65 if cache == "empty" else 1.0)
                _run(preset, cache, Path(folder), limit, recorder)


def _run(preset: str, cache: str, folder: Path, limit: float, recorder: Recorder) -> None:
    flags = [f"--preset={preset}", "--stage=ssl", "--synthetic-count=160", "--epochs=2", "--no-report"]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    out = folder / cache
    command = [sys.executable, "-m", "jaxcaps.train", *flags, f"--out={out}"]
    began = time.monotonic()
    with (folder / f"{cache}.txt").open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        first = None
        while process.poll() is None and time.monotonic() - began < limit:
            time.sleep(0.05)
            if first is None and "First step done" in (folder / f"{cache}.txt").read_text():
                first = time.monotonic() - began
        finished = process.poll()
        process.kill()
        process.wait()
    text = (folder / f"{cache}.txt").read_text()
    print(text, flush=True)
    logged = re.search(r"First step done after ([\d.]+) s", text)
    recorder.row(
        "runs",
        preset=preset,
        cache=cache,
        process_to_first_step_s=first,
        logged_s=float(logged[1]) if logged else None,
        whole_run_s=time.monotonic() - began if finished == 0 else None,
        exit_code="stopped" if finished is None else finished,
    )
