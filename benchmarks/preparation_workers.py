"""Scaling of the preparation over processes: `python -m benchmarks.preparation_workers DIR --workers=2`.

Prints one line of JSON. One command with N workers prepares the pictures of the folder. For comparison, N concurrent
commands with one worker each share the pictures. `share` is the throughput of the former divided by the total
throughput of the latter: the share of the cores that the pipeline uses. Both are medians, timed from the start of the
processes. CPU seconds show the overhead even if other programs use the cores. `--repeat` lists each picture several
times under different names, for folders that are too small to time.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3


def command(source: Path, out: Path, workers: int, flags: list[str]) -> list[str]:
    arguments = [f"--source=csv:{source}", f"--out={out}", f"--workers={workers}", *flags]
    return [sys.executable, "-m", "data_prep", *arguments]


def write_table(folder: Path, pictures: list[Path], repeat: int) -> Path:
    """Writes copies with different bytes, so that none is left out as a duplicate."""
    folder.mkdir()
    rows = []
    for number in range(repeat):
        for index, picture in enumerate(pictures):
            name = f"{number}-{index}{picture.suffix}"
            # Decoders ignore bytes after the end of a picture.
            (folder / name).write_bytes(picture.read_bytes() + bytes([number]) * (number + 1))
            rows.append(f"{name},train\n")
    table = folder / "labels.csv"
    table.write_text("path,split\n" + "".join(rows))
    return table


def seconds(commands: list[list[str]]) -> tuple[float, float]:
    """The wall time until all commands, started together, have finished, and their CPU seconds."""
    began, used = time.perf_counter(), cpu_seconds()
    running = [subprocess.Popen(one, stdout=subprocess.DEVNULL) for one in commands]
    if any([process.wait() for process in running]):
        raise SystemExit("a preparation failed")
    return time.perf_counter() - began, cpu_seconds() - used


def cpu_seconds() -> float:
    """CPU seconds of all finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--preset", default="endoscopy")
    arguments = parser.parse_args()
    flags = [f"--preset={arguments.preset}"]
    workers = arguments.workers
    pictures = sorted(
        path for path in arguments.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif")
    )
    together, apart = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = write_table(folder / "whole", pictures, arguments.repeat)
        parts = [
            write_table(folder / f"part{part}", pictures[part::workers], arguments.repeat) for part in range(workers)
        ]
        for _ in range(ROUNDS):
            outs = [folder / f"out{number}" for number in range(workers + 1)]
            together.append(seconds([command(whole, outs[-1], workers, flags)]))
            apart.append(seconds([command(part, out, 1, flags) for part, out in zip(parts, outs[:-1], strict=True)]))
            for out in outs:
                shutil.rmtree(out)
    count = len(pictures) * arguments.repeat
    rates = [count / statistics.median(wall for wall, _ in times) for times in (together, apart)]
    cores = [statistics.median(used for _, used in times) for times in (together, apart)]
    print(
        json.dumps(
            {
                "images": count,
                "preset": arguments.preset,
                "workers": workers,
                "images_per_second": round(rates[0], 2),
                "independent_images_per_second": round(rates[1], 2),
                "share": round(rates[0] / rates[1], 3),
                "cpu_seconds": round(cores[0], 1),
                "independent_cpu_seconds": round(cores[1], 1),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "date": time.strftime("%Y-%m-%d"),
            }
        )
    )


if __name__ == "__main__":
    main()
