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

from jaxcaps.data.loader import Loader
from jaxcaps.plan.config import Config
from jaxcaps.plan.length import run_length
from jaxcaps.plan.presets import preset
from jaxcaps.training import train
from jaxcaps.training.mesh import device_mesh
from jaxcaps.training.optimizer import make_optimizer
from jaxcaps.training.setup import load_data, make_modules, make_task, sampling_order
from jaxcaps.training.step import initial_state, make_train_step
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


class Bare:
    """The jitted step on one resident batch."""

    def __init__(self, config: Config):
        mesh = device_mesh(config.training.batch_size)
        dataset = load_data(config, ("train", "validation"))
        task = make_task(config, dataset)
        modules, draw = make_modules(config, task)
        length = run_length(config, len(dataset.splits["train"]))
        optimizer = make_optimizer(config, length)
        order = sampling_order(config, dataset)
        self.batch = next(iter(Loader(dataset.splits["train"], order, mesh, start=0, stop=1)))
        self.step = make_train_step(task, modules, optimizer, mesh, micro_steps=length.micro_steps)
        self.state, _ = self.step(initial_state(draw(), optimizer, mesh, seed=0), self.batch)

    def seconds(self, steps: int) -> float:
        """Seconds per step, with steps queued as fast as the devices accept them."""
        began = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        return (time.perf_counter() - began) / steps


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
        bare_step = bare_step or Bare(config)
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
