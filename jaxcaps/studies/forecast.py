"""Estimates how long a study takes, from steps measured on this machine."""

import dataclasses
import logging
import time
from typing import NamedTuple

import jax

from jaxcaps.data.loader import Loader
from jaxcaps.errors import UnsuitableTask
from jaxcaps.plan.config import Config, identity
from jaxcaps.plan.length import run_length
from jaxcaps.studies.design import Cell, Study
from jaxcaps.studies.notation import study_arm
from jaxcaps.training.mesh import device_mesh
from jaxcaps.training.optimizer import make_optimizer
from jaxcaps.training.setup import load_data, make_modules, make_task, sampling_order
from jaxcaps.training.step import initial_state, make_train_step

log = logging.getLogger("jaxcaps")

# Steps that are timed, after one that compiles.
TIMED = 5


class Measured(NamedTuple):
    """The seconds of a run's first step, including the start, and of its other steps; and the number of steps."""

    start: float
    step: float
    steps: int

    @property
    def seconds(self) -> float:
        return self.start + self.step * self.steps


def forecast(study: Study, jobs: int) -> str:
    """Every cell and its minutes, and the sum.

    A step of each kind of run is measured with the whole machine; evaluations are not counted. Runs that differ in
    seed, fold or learning rate are of one kind.
    """
    known: dict[str, Measured | str] = {}

    def measured(config: Config) -> Measured | str:
        kind = _kind(config)
        if kind not in known:
            log.info("Measuring a step of %s, %s", config.stage, config.preset)
            try:
                known[kind] = measure(config)
            except UnsuitableTask as error:
                known[kind] = str(error)
        return known[kind]

    def extension(cell: Cell) -> Measured | str:
        found = [measured(study.pretraining(dataclasses.replace(cell, arm=name))) for name in study.pretrained]
        # Its steps alone: they follow on those of the fine-tuning.
        return next((each._replace(start=0.0) for each in found if isinstance(each, Measured)), found[0])

    lines, total = [], 0.0
    for cell in study.cells():
        kind = study_arm(cell.arm).kind
        runs: list[Measured | str] = []
        if kind.pretrain is not None:
            runs.append(measured(study.pretraining(cell)))
        if not kind.pixels:
            for labels in study.labels:
                for recipe in study.recipes_of(cell, labels):
                    runs.append(measured(study.finetuning(cell, labels, recipe)))
                    # As long as the other arm's pre-training again, roughly: epochs and seconds are of one kind here.
                    if kind.longer:
                        runs.append(extension(cell))
        unsuitable = [run for run in runs if isinstance(run, str)]
        if unsuitable:
            lines.append(f"{cell.name}: not applicable: {unsuitable[0]}")
            continue
        seconds = sum(run.seconds for run in runs if isinstance(run, Measured))
        total += seconds
        lines.append(f"{cell.name}: {seconds / 60:.1f} min")
    lines.append(
        f"{len(study.cells())} cells, {total / 60:.0f} minutes of computing, evaluations not counted; "
        f"less with {jobs} at a time on separate cores or devices."
    )
    return "\n".join(lines)


def measure(config: Config) -> Measured:
    """Builds the run, makes a few of its steps and throws them away.

    Raises:
        UserError: as `jaxcaps.train`.
    """
    began = time.monotonic()
    mesh = device_mesh(config.training.batch_size)
    dataset = load_data(config, ("train", "validation"))
    task = make_task(config, dataset)
    length = run_length(config, len(dataset.splits["train"]))
    modules, draw = make_modules(config, task)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, length)
    step = make_train_step(task, modules, optimizer, mesh, micro_steps=length.micro_steps)
    state = initial_state(draw(), optimizer, mesh, seed=config.seed)
    start = 0.0
    for number, batch in enumerate(
        Loader(dataset.splits["train"], sampling_order(config, dataset), mesh, start=0, stop=1 + TIMED)
    ):
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)
        if number == 0:
            start, began = time.monotonic() - began, time.monotonic()
    return Measured(start, (time.monotonic() - began) / TIMED, length.micro_steps)


def _kind(config: Config) -> str:
    """The settings that the time of a step depends on."""
    values = identity(config)
    values.pop("seed")
    values.pop("optimizer")
    values["data"].pop("fold")
    # It is the same number of arrays, wherever they come from.
    values.pop("restore")
    return repr(values)
