"""Speed of training: `python -m benchmarks.training --preset=demo --stage=ssl`.

Prints one line of JSON: images per second of the training loop; its overhead, (wall time of a training step - time of
the jitted step on a resident batch) / wall time; seconds from the start of `train` to the end of the first step; and
the peak resident memory of the process. Complete runs and the jitted step take turns in one process; values are
medians.
"""

import argparse
import dataclasses
import json
import logging
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import jax

from benchmarks.bare import Bare
from jaxcaps.plan.config import Config
from jaxcaps.plan.presets import preset
from jaxcaps.training import train
from jaxcaps.training.setup import load_data
from jaxcaps.training.writers import read_rows

ROUNDS = 3
EPOCHS = 6


def loop_seconds(config: Config) -> tuple[list[float], float]:
    """Seconds per step in each row of a run except the last, which includes an evaluation, and to the first step."""
    with tempfile.TemporaryDirectory() as parent:
        folder = train(dataclasses.replace(config, out=f"{parent}/run")).folder
        rows = [row for row in read_rows(folder / "metrics.jsonl") if "images_per_second" in row]
        log = Path(folder / "log.txt").read_text()
    first = next(line for line in log.splitlines() if "First step done after" in line)
    return [config.training.batch_size / row["images_per_second"] for row in rows], float(first.split()[-2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--stage", default="ssl", choices=("ssl", "finetune"))
    arguments = parser.parse_args()
    logging.getLogger("jaxcaps").setLevel(logging.INFO)
    config = preset(arguments.preset, arguments.stage)
    # The built-in images at the preset's size, with one evaluation at the end.
    training = dataclasses.replace(config.training, epochs=EPOCHS, evaluate_every=EPOCHS)
    config = dataclasses.replace(config, training=training)

    loop, bare, first_steps = [], [], []
    bare_step = None
    for _ in range(ROUNDS):
        seconds, first = loop_seconds(config)
        loop += seconds
        first_steps.append(first)
        if bare_step is None:
            bare_step = Bare(config, load_data(config, ("train", "validation")))
            bare_step.seconds(1)
        bare += [bare_step.seconds(6) for _ in range(4)]
    step, alone = statistics.median(loop), statistics.median(bare)
    print(
        json.dumps(
            {
                "preset": arguments.preset,
                "stage": arguments.stage,
                "images_per_second": round(config.training.batch_size / step, 1),
                "step_ms": round(1e3 * step, 1),
                "bare_step_ms": round(1e3 * alone, 1),
                "overhead_percent": round(100 * (1 - alone / step), 1),
                "first_step_s": first_steps[0],
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}",
                "jax": jax.__version__,
                "date": time.strftime("%Y-%m-%d"),
            }
        )
    )


if __name__ == "__main__":
    main()
