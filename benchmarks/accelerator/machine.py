"""What the machine is, and the two ceilings of its device: matrix products and memory."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess

import jax

from benchmarks.accelerator.recorder import Recorder
from benchmarks.accelerator.timing import copy_bandwidth, matrix_rate

PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "flax", "optax", "numpy", "grain", "torch")


def measure(recorder: Recorder) -> None:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)}
    device = jax.devices()[0]
    recorder.row(
        "machine",
        device=f"{jax.device_count()} x {device.device_kind}",
        driver=_driver(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        **versions,
        missing=", ".join(name for name in ("torch", "grain", "pytest") if importlib.util.find_spec(name) is None),
    )
    size = 512 if recorder.tiny else 8192
    for name, dtype, precision in (
        ("bfloat16", "bfloat16", None),
        ("float32, default precision (TF32 on an NVIDIA GPU)", "float32", None),
        ("float32, highest precision", "float32", "highest"),
    ):
        with recorder.attempt("ceilings", what=name):
            rate = matrix_rate(size, dtype, precision)
            recorder.row("ceilings", what=name, rate=rate / 1e12, unit=f"TFLOP/s, {size}^3 product of random data")
    with recorder.attempt("ceilings", what="copy"):
        rate = copy_bandwidth(2**24 if recorder.tiny else 2**32)
        recorder.row("ceilings", what="copy", rate=rate / 1e12, unit="TB/s, bytes read and written")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _driver() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
