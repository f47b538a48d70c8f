"""Prediction of many pictures: `python -m benchmarks.inference --restore=RUN --images=DIR`.

Measures, for a fine-tuned run and pictures that are linked as often as it takes:

- pictures per second of `model.predict` on files, beside those of the bare compiled forward pass on a batch that stays
  in memory, in turns;
- for each number of pictures, the command `jaxcaps.predict`: seconds until the first row is written, seconds in all,
  and the peak of resident memory.

Run it twice: the first run fills the compilation cache that is named by `JAX_COMPILATION_CACHE_DIR`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import jaxcaps
from data_prep.images.formats import SUFFIXES
from jaxcaps.inference.model import TrainedClassifier

ROUNDS = 3


def linked(images: Path, count: int, folder: Path) -> Path:
    """A folder of so many links to the pictures below another folder."""
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"--images={images}: no pictures")
    folder.mkdir()
    for number in range(count):
        file = files[number % len(files)]
        (folder / f"{number:06d}{file.suffix}").symlink_to(file.resolve())
    return folder


def rates(model: TrainedClassifier, folder: Path, count: int) -> tuple[list[float], list[float]]:
    """Pictures per second of `predict` on a folder, and of the compiled program on a resident batch, in turns."""
    model.predict(folder)
    predictor = model._classified
    side = model.config.data.image_size * model.config.data.oversampling
    shape = (predictor.batch_size, side, side, model.channels)
    batch = jax.device_put(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    jax.block_until_ready(predictor.apply(model.parameters, batch))
    batches = -(-count // predictor.batch_size)
    found: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        model.predict(folder)
        found[0].append(count / (time.perf_counter() - began))
        began = time.perf_counter()
        for _ in range(batches):
            jax.block_until_ready(predictor.apply(model.parameters, batch))
        found[1].append(batches * predictor.batch_size / (time.perf_counter() - began))
    return found


def command(restore: str, folder: Path, out: Path) -> tuple[float, float, float]:
    """Seconds until the first row and in all, and the peak of resident memory in MB, of one command."""
    partial = out.with_name(f"{out.name}.partial")
    began = time.perf_counter()
    arguments = [sys.executable, "-m", "jaxcaps.predict", f"--restore={restore}", f"--images={folder}", f"--out={out}"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = None
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        now = time.perf_counter() - began
        # The first line says what the rows belong to.
        if first is None and (ended or (partial.is_file() and partial.read_bytes().count(b"\n") > 1)):
            first = now
        if ended:
            break
        time.sleep(0.02)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return first or now, now, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restore", required=True, help="a fine-tuned run or a bundle")
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--counts", default="1000,20000", help="numbers of pictures (default: %(default)s)")
    given = parser.parse_args()
    counts = [int(count) for count in given.counts.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        print("| pictures | first row after, s | in all, s | peak memory, MB |")
        print("|---" * 4 + "|")
        folders = {count: linked(given.images, count, root / str(count)) for count in counts}
        for count, folder in folders.items():
            first, whole, peak = command(given.restore, folder, root / f"{count}.csv")
            print(f"| {count:,} | {first:.1f} | {whole:.1f} | {peak:.0f} |", flush=True)
        files, bare = rates(jaxcaps.load(given.restore), folders[counts[0]], counts[0])
    ratios = [one / other for one, other in zip(files, bare, strict=True)]
    print(f"\nfiles {listed(files)}, bare forward pass {listed(bare)} pictures a second")
    print(f"ratio {statistics.median(ratios):.2f} ({', '.join(f'{each:.2f}' for each in ratios)})")


def listed(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({', '.join(f'{each:.0f}' for each in values)})"


if __name__ == "__main__":
    main()
