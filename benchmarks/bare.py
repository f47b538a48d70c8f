"""The training step alone, on one batch that stays on the devices; and data of the right shape for it."""

import time
from typing import Any

import jax
import numpy as np

from jaxcaps.data.dataset import Dataset, Split
from jaxcaps.data.loader import Loader
from jaxcaps.plan.config import Config
from jaxcaps.plan.length import run_length
from jaxcaps.training.mesh import device_mesh
from jaxcaps.training.optimizer import make_optimizer
from jaxcaps.training.setup import make_modules, make_task, sampling_order
from jaxcaps.training.step import initial_state, make_train_step


class Bare:
    """The jitted step on one resident batch.

    Attributes:
        task, modules, mesh: of the run.
        step, state, batch: call `step(state, batch)`; it donates the state.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.mesh = device_mesh(config.training.batch_size)
        self.task = make_task(config, dataset)
        self.modules, draw = make_modules(config, self.task)
        length = run_length(config, len(dataset.splits["train"]))
        with jax.numpy_dtype_promotion("standard"):
            optimizer = make_optimizer(config, length)
        order = sampling_order(config, dataset)
        self.batch = next(iter(Loader(dataset.splits["train"], order, self.mesh, start=0, stop=1)))
        self.step: Any = make_train_step(self.task, self.modules, optimizer, self.mesh, micro_steps=length.micro_steps)
        self.state = initial_state(draw(), optimizer, self.mesh, seed=0)

    def compile(self) -> tuple[float, jax.stages.Compiled]:
        """Compiles the step ahead of time. Returns its floating-point operations, before XLA rewrites it, and it.

        The operations of a loop count once, and XLA does not know those of what it has replaced by calls of libraries.
        """
        traced = self.step.trace(self.state, self.batch)
        lowered = traced.lower()
        # XLA counts nothing for CUDA before it has compiled, so the same step is counted as lowered for a CPU.
        counted = lowered.cost_analysis() or traced.lower(lowering_platforms=("cpu",)).cost_analysis()
        self.step = lowered.compile()
        return float(counted["flops"]), self.step

    def seconds(self, steps: int) -> float:
        """Seconds per step, with steps queued as fast as the devices accept them."""
        began = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        return (time.perf_counter() - began) / steps


def random_dataset(config: Config, count: int) -> Dataset:
    """Random pictures of the size that the configuration stores, in three classes. Nothing is drawn or decoded."""
    side = config.data.image_size * config.data.oversampling
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, config.model.channels), np.uint8)
    return dataset_of(RandomPictures(images), images)


class RandomPictures:
    """A source of pictures that are decoded already."""

    prepared = None
    notes: tuple[str, ...] = ()
    items = ()

    def __init__(self, images: np.ndarray):
        self._images = images

    def read(self, index: int) -> np.ndarray:
        return self._images[index]


def dataset_of(source: Any, images: np.ndarray, *, resident: bool = True) -> Dataset:
    """A training split of these pictures in three classes.

    Args:
        source: reads them.
        images: uint8 [count, size, size, channels].
        resident: whether the split keeps them in memory; if not, it reads them from the source.
    """
    indices = np.arange(len(images), dtype=np.int32)
    split = Split(
        names=tuple(f"picture {index}" for index in indices),
        labels=indices % 3,
        groups=indices,
        has_groups=False,
        images=images if resident else None,
        source=source,
        rows=indices,
        image_size=images.shape[1],
        contents=np.zeros(len(images), "S1"),
        channels=images.shape[-1],
    )
    return Dataset(
        classes=("a", "b", "c"), splits={"train": split}, bad_images=(), notes=(), fingerprint="", prepared=None
    )
